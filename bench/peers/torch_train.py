#!/usr/bin/env python3
"""PyTorch beside glossa: one float32 training step (forward, backward, AdamW) of a GPT on random tokens.

    /usr/bin/python3 bench/peers/torch_train.py --layers 6 --width 384 --heads 6 --vocab 8192 --ctx 256 --batch 4

Prints one line of JSON. The model is GPT-2's: learned positions, LayerNorm with bias, gelu_new, tied head
(--untied for a head of its own). PyTorch is used as its users would: `scaled_dot_product_attention` where this
version has it, else attention in one batched matmul; AdamW in its `fused` or `foreach` form. Times are medians
over --steps steps after --warmup.

Debian's PyTorch calls whatever libblas.so.3 is installed. Netlib's reference BLAS multiplies matrices 50 times
slower than OpenBLAS, and a comparison with it would say nothing, so the script stops there: install OpenBLAS
(apt-get install libopenblas0-openmp), or say --any-blas. OpenBLAS's pthread build is no good either with two
threads: its pool and PyTorch's OpenMP pool spin against each other (1,700 ms a step where the openmp build
takes 680 on two shared Zen 5 cores), so that warns. `blas` in the output tells which one ran. Allocation costs
another tenth: MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456 in the environment saves it on glibc.

gflops is model arithmetic a second, counted as training libraries do: 6 per matmul parameter and token (the
head counts, embedding look-ups do not) plus 12 * layers * ctx * width per token for attention (causal
masking not subtracted). Norms, softmax and the optimizer count for nothing.
"""

import argparse
import json
import math
import re
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

HAS_SDPA = hasattr(F, 'scaled_dot_product_attention')
HAS_TANH_GELU = 'approximate' in (F.gelu.__doc__ or '')


class Block(nn.Module):
    def __init__(self, width, heads, ctx):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        hidden = torch.full((ctx, ctx), -math.inf).triu(1)
        self.register_buffer('hidden', hidden, persistent=False)

    def attention(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if HAS_SDPA:
            z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + self.hidden[:length, :length]
            z = torch.softmax(scores, -1) @ v
        return self.out(z.transpose(1, 2).reshape(batch, length, width))

    def gelu(self, x):
        if HAS_TANH_GELU:
            return F.gelu(x, approximate='tanh')
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(o.vocab, o.width), nn.Embedding(o.ctx, o.width)
        self.blocks = nn.ModuleList(Block(o.width, o.heads, o.ctx) for _ in range(o.layers))
        self.norm = nn.LayerNorm(o.width)
        self.head = nn.Linear(o.width, o.vocab, bias=False)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
        if not o.untied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def make_adamw(parameters):
    for form in ({'fused': True}, {'foreach': True}, {}):
        try:
            optimizer = torch.optim.AdamW(parameters, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, **form)
            return optimizer, next(iter(form), 'plain')
        except (TypeError, RuntimeError):  # this form is unknown here, or not for this device
            continue


def blas_in_use():
    """'mkl', 'openblas', 'reference', ...: from the build, or from the shared libraries this process has loaded."""
    built = re.search(r'BLAS_INFO=(\w+)', torch.__config__.show())
    if built and built.group(1) not in ('generic', 'flexi'):
        return built.group(1)
    try:
        with open('/proc/self/maps') as file:
            loaded = file.read()
    except OSError:
        return 'unknown'
    debian = re.search(r'/(openblas-\w+)/', loaded)
    if debian:
        return debian.group(1)
    for name in ('openblas', 'mkl', 'blis', 'atlas'):
        if re.search(rf'/lib{name}|/{name}', loaded):
            return name
    return 'reference' if 'libblas' in loaded else 'unknown'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (
        ('layers', 6), ('width', 384), ('heads', 6), ('vocab', 8192), ('ctx', 256), ('batch', 4),
        ('threads', 2), ('warmup', 3), ('steps', 10),
    ):
        parser.add_argument('--' + flag, type=int, default=default, help=f'default {default}')
    parser.add_argument('--untied', action='store_true', help="a head of its own instead of the embedding's")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--any-blas', action='store_true', help='run even with the reference BLAS')
    o = parser.parse_args()
    for flag in ('layers', 'width', 'heads', 'vocab', 'ctx', 'batch', 'threads', 'steps'):
        if getattr(o, flag) < 1:
            parser.error(f'--{flag} must be at least 1')
    if o.warmup < 0:
        parser.error('--warmup must not be negative')
    if o.width % o.heads:
        parser.error(f'--width {o.width} is not a multiple of --heads {o.heads}')
    blas = blas_in_use()
    if blas == 'reference' and o.device == 'cpu' and not o.any_blas:
        sys.exit('torch_train.py: PyTorch runs on the reference BLAS here, which is no fair peer; '
                 'apt-get install libopenblas0-openmp, or pass --any-blas')

    if blas == 'openblas-pthread' and o.threads > 1:
        print('torch_train.py: warning: the pthread OpenBLAS fights PyTorch over threads and is slow; '
              'libopenblas0-openmp is the fair one', file=sys.stderr)

    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    model = GPT(o).to(o.device)
    optimizer, form = make_adamw(model.parameters())
    tokens = torch.randint(o.vocab, (o.batch, o.ctx + 1), device=o.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, o.vocab), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()  # also waits for an accelerator

    first = [step() for _ in range(o.warmup)]
    times, losses = [], []
    for _ in range(o.steps):
        start = time.perf_counter()
        losses.append(step())
        times.append(time.perf_counter() - start)

    seconds, batch_tokens = statistics.median(times), o.batch * o.ctx
    matmul_parameters = 12 * o.layers * o.width ** 2 + o.vocab * o.width
    flops = (6 * matmul_parameters + 12 * o.layers * o.ctx * o.width) * batch_tokens
    print(json.dumps({
        'msPerStep': round(1000 * seconds, 3),
        'tokensPerSecond': round(batch_tokens / seconds, 1),
        'gflops': round(flops / seconds / 1e9, 2),
        'torchVersion': torch.__version__,
        'msPerStepBest': round(1000 * min(times), 3),
        'threads': torch.get_num_threads(),
        'parameters': sum(p.numel() for p in model.parameters()),
        'matmulParameters': matmul_parameters,
        'blas': blas,
        'attention': 'sdpa' if HAS_SDPA else 'matmul',
        'optimizer': form,
        'firstLoss': round((first + losses)[0], 4),
        'lastLoss': round(losses[-1], 4),
    }))


if __name__ == '__main__':
    main()
