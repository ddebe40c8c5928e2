#!/usr/bin/env python3
"""The losses of torch_train.py's model from gpt.mjs's weights and tokens, to check the other training peers against.

    /usr/bin/python3 bench/peers/torch_losses.py --layers 2 --width 64 --heads 4 --vocab 256 --context 32 --batch 2

Prints {"loss": [...]}, one per step. Times are torch_train.py's business.
"""

import argparse
import json
import math

import torch
from torch.nn import functional as F

from torch_train import GPT

LOW32 = 0xFFFFFFFF


def mix(stream, index):
    """gpt.mjs's hash."""
    x = ((stream + 1) * 0x9E3779B9 & LOW32) ^ index
    x = (x ^ x >> 16) * 0x85EBCA6B & LOW32
    x = (x ^ x >> 13) * 0xC2B2AE35 & LOW32
    return x ^ x >> 16


def fill(model, o):
    block = ('norm1.weight', 'norm1.bias', 'qkv.weight', 'qkv.bias', 'out.weight', 'out.bias',
             'norm2.weight', 'norm2.bias', 'up.weight', 'up.bias', 'down.weight', 'down.bias')
    names = ['tokens.weight', 'positions.weight']
    names += [f'blocks.{layer}.{name}' for layer in range(o.layers) for name in block]
    names += ['norm.weight', 'norm.bias']
    parameters = dict(model.named_parameters())
    assert sorted(names) == sorted(parameters)
    for stream, name in enumerate(names):
        parameter = parameters[name].data
        if parameter.dim() == 2:
            shape = parameter.shape if stream < 2 else parameter.shape[::-1]
            values = mix(stream, torch.arange(parameter.numel())).double() / 2 ** 31 - 1
            values = (0.02 * math.sqrt(3) * values).float().view(*shape)
            parameter.copy_(values if stream < 2 else values.t())
        else:
            parameter.fill_(float(name.endswith('.weight')))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (('layers', 8), ('width', 512), ('heads', 8), ('vocab', 10000), ('context', 256),
                          ('batch', 4), ('threads', 2), ('steps', 3)):
        parser.add_argument('--' + flag, type=int, default=default, help=f'default {default}')
    o = parser.parse_args()
    o.ctx, o.untied = o.context, False
    torch.set_num_threads(o.threads)
    model = GPT(o)
    fill(model, o)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    tokens = (mix(-2, torch.arange(o.batch * (o.context + 1))) % o.vocab).view(o.batch, o.context + 1)
    losses = []
    for _ in range(o.steps):
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, o.vocab), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(json.dumps({'loss': losses}))


if __name__ == '__main__':
    main()
