#!/usr/bin/env python3
"""PyTorch beside glossa: one float32 step of a TopK sparse autoencoder (forward, backward, Adam) on random activations.

    /usr/bin/python3 bench/peers/torch_sae.py --width 320 --features 5120 --batch 2048 --k 32

Prints one line of JSON. The step is what dictionary_learning's TopK trainer does: top k, ReLU, a dense decoder, the gradient
along decoder rows taken off, Adam in its `foreach` form where there is one, rows made of norm 1 again. Its auxiliary loss has
nothing to do while no feature is dead, and is left out: glossa's is in its step. About the BLAS, see torch_train.py.
"""

import argparse
import json
import os
import statistics
import sys
import time

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from torch_train import blas_in_use  # noqa: E402


def make_adam(parameters):
    for form in ({'fused': True}, {'foreach': True}, {}):
        try:
            return torch.optim.Adam(parameters, lr=3e-4, **form), next(iter(form), 'plain')
        except (TypeError, RuntimeError):  # this form is unknown here, or not for this device
            continue


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (('width', 320), ('features', 5120), ('batch', 2048), ('k', 32), ('threads', 2),
                          ('warmup', 2), ('steps', 5)):
        parser.add_argument('--' + flag, type=int, default=default, help=f'default {default}')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--any-blas', action='store_true', help='run even with the reference BLAS')
    o = parser.parse_args()
    blas = blas_in_use()
    if blas == 'reference' and o.device == 'cpu' and not o.any_blas:
        sys.exit('torch_sae.py: PyTorch runs on the reference BLAS here, which is no fair peer; '
                 'apt-get install libopenblas0-openmp, or pass --any-blas')
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(o.features, o.width, device=o.device), dim=1)
    encoder = decoder.T.clone().contiguous()
    b_enc, b_dec = torch.zeros(o.features, device=o.device), torch.zeros(o.width, device=o.device)
    parameters = [p.requires_grad_(True) for p in (encoder, decoder, b_enc, b_dec)]
    optimizer, form = make_adam(parameters)
    x = torch.randn(o.batch, o.width, device=o.device)
    age = torch.zeros(o.features, device=o.device)

    def step():
        nonlocal age
        optimizer.zero_grad(set_to_none=True)
        before = (x - b_dec) @ encoder + b_enc
        values, indices = before.topk(o.k, dim=-1, sorted=False)
        features = torch.zeros_like(before).scatter(-1, indices, torch.relu(values))
        error = features @ decoder + b_dec - x
        loss = error.pow(2).sum() / (x - x.mean(0)).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            active = torch.zeros_like(age).scatter_add(0, indices.flatten(), (values > 0).float().flatten())
            age = torch.where(active > 0, torch.zeros_like(age), age + o.batch)
            decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder
        optimizer.step()
        with torch.no_grad():
            decoder.div_(decoder.norm(dim=1, keepdim=True))
        return loss.item()

    first = [step() for _ in range(o.warmup)]
    times, losses = [], []
    for _ in range(o.steps):
        start = time.perf_counter()
        losses.append(step())
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    print(json.dumps({
        'msPerStep': round(1000 * seconds, 3),
        'tokensPerSecond': round(o.batch / seconds, 1),
        'gflops': round(5 * 2 * o.width * o.features * o.batch / seconds / 1e9, 2),
        'torchVersion': torch.__version__,
        'threads': torch.get_num_threads(),
        'blas': blas,
        'optimizer': form,
        'firstLoss': round((first + losses)[0], 4),
        'lastLoss': round(losses[-1], 4),
    }))


if __name__ == '__main__':
    main()
