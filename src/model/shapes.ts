/** The shapes that a decoder's parameters must have. */
import type { Shape } from '../array/index.ts'
import type { DecoderNames } from './families/family.ts'
import { type DecoderSpec, partOf } from './spec.ts'

type Names = DecoderNames['blocks'][number]
type NamedLinear = NonNullable<Names['attn']>['o']
type NamedNorm = NonNullable<DecoderNames['lnFinal']>

/** Shape by name of tensor. */
export function parameterShapes(spec: DecoderSpec, names: DecoderNames): Map<string, Shape> {
  const shapes = new Map<string, Shape>()
  const { width, vocab, layout, position } = spec
  const expect = (name: unknown, shape: Shape): void => {
    if (name !== undefined) shapes.set(name as string, shape)
  }
  const matrix = ({ weight, bias }: NamedLinear, from: number, to: number, order = layout): void => {
    expect(weight, order === 'out-in' ? [to, from] : [from, to])
    expect(bias, [to])
  }
  const norm = (part: NamedNorm | undefined, size = width): void => {
    expect(part?.weight, [size])
    expect(part?.bias, [size])
  }
  const attention = (part: NonNullable<Names['attn']>): void => {
    const { heads, keyValueHeads, headSize, normalize } = partOf(spec, 'attention')
    const [all, some] = [heads * headSize, keyValueHeads * headSize]
    if ('qkv' in part) matrix(part.qkv, width, all + 2 * some)
    else {
      matrix(part.q, width, all)
      matrix(part.k, width, some)
      matrix(part.v, width, some)
    }
    matrix(part.o, all, width)
    norm(part.qNorm, normalize === 'all' ? all : headSize)
    norm(part.kNorm, normalize === 'all' ? some : headSize)
  }
  const stateSpace = (part: NonNullable<Names['ssm']>): void => {
    const { inner, state, kernel, rank } = partOf(spec, 'stateSpace')
    matrix(part.input, width, 2 * inner)
    expect(part.conv.weight, [inner, 1, kernel])
    expect(part.conv.bias, [inner])
    matrix(part.select, inner, rank + 2 * state)
    matrix(part.step, rank, inner)
    expect(part.logDecay, [inner, state])
    expect(part.skip, [inner])
    matrix(part.output, inner, width)
  }
  const feedForward = (part: NonNullable<Names['mlp']>): void => {
    const ffn = partOf(spec, 'ffn')
    if ('router' in part) {
      matrix(part.router, width, ffn.experts!.count)
      for (const expert of part.experts) feedForward(expert)
      return
    }
    if ('gateUp' in part) matrix(part.gateUp, width, 2 * ffn.hidden)
    else {
      if ('gate' in part) matrix(part.gate, width, ffn.hidden)
      matrix(part.up, width, ffn.hidden)
    }
    matrix(part.down, ffn.hidden, width)
  }
  const { embedWidth = width } = spec
  expect(names.embed, [vocab, embedWidth])
  if (names.projectIn) matrix(names.projectIn, embedWidth, width, 'out-in')
  if (names.projectOut) matrix(names.projectOut, width, embedWidth, 'out-in')
  if (position.kind === 'learned') expect(names.positions, [spec.context + (position.offset ?? 0), width])
  for (const block of names.blocks) {
    for (const part of [block.ln1, block.ln1Post, block.ln2, block.ln2Post]) norm(part)
    if (block.attn) attention(block.attn)
    if (block.ssm) stateSpace(block.ssm)
    if (block.mlp) feedForward(block.mlp)
  }
  norm(names.lnFinal)
  if (names.head) matrix(names.head, embedWidth, vocab, 'out-in')
  return shapes
}
