/** What an encoder is made of, as data. */
import type { Shape, Tensor } from '../array/index.ts'
import type { Activation, Linear, Norm } from './spec.ts'

export interface EncoderSpec {
  readonly vocab: number
  readonly width: number
  /** Of the embeddings, which are projected to `width` where it is another (ELECTRA). */
  readonly embedWidth: number
  readonly layers: number
  /** Rows of the table of positions. */
  readonly positions: number
  /** The row of the first position; where set, padding does not count (RoBERTa). */
  readonly firstPosition?: number
  /** Kinds of segments; 0 where there are none. */
  readonly segments: number
  readonly heads: number
  readonly hidden: number
  readonly activation: Activation
  readonly epsilon: number
}

export interface EncoderParams {
  readonly embed: Tensor
  readonly positions: Tensor
  readonly segments?: Tensor | undefined
  readonly lnEmbed: Norm
  readonly project?: Linear | undefined
  readonly blocks: readonly {
    readonly attn: { readonly q: Linear; readonly k: Linear; readonly v: Linear; readonly o: Linear }
    readonly ln1: Norm
    readonly mlp: { readonly up: Linear; readonly down: Linear }
    readonly ln2: Norm
  }[]
  /** tanh(Wx + b) of the first token. */
  readonly pooler?: Linear | undefined
  /** Predicts masked tokens: transform, activation, norm, and the embedding again with a bias. */
  readonly head?: { readonly transform: Linear; readonly norm: Norm; readonly bias: Tensor } | undefined
}

/** The shapes that an encoder's parameters must have, by name. */
export function encoderShapes(spec: EncoderSpec, names: EncoderNames): Map<string, Shape> {
  const shapes = new Map<string, Shape>()
  const { width, embedWidth, hidden } = spec
  const expect = (name: string | undefined, shape: Shape): void => {
    if (name !== undefined) shapes.set(name, shape)
  }
  const matrix = (part: NamedLinear | undefined, from: number, to: number): void => {
    expect(part?.weight, [to, from])
    expect(part?.bias, [to])
  }
  const norm = (part: NamedLinear, size = width): void => {
    expect(part.weight, [size])
    expect(part.bias, [size])
  }
  expect(names.embed, [spec.vocab, embedWidth])
  expect(names.positions, [spec.positions, embedWidth])
  expect(names.segments, [spec.segments, embedWidth])
  norm(names.lnEmbed, embedWidth)
  matrix(names.project, embedWidth, width)
  for (const { attn, ln1, mlp, ln2 } of names.blocks) {
    for (const part of [attn.q, attn.k, attn.v, attn.o]) matrix(part, width, width)
    norm(ln1)
    matrix(mlp.up, width, hidden)
    matrix(mlp.down, hidden, width)
    norm(ln2)
  }
  matrix(names.pooler, width, width)
  if (names.head) {
    matrix(names.head.transform, width, embedWidth)
    norm(names.head.norm, embedWidth)
    expect(names.head.bias, [spec.vocab])
  }
  return shapes
}

interface NamedLinear {
  readonly weight: string
  readonly bias?: string
}
/** The parameter tree with names of tensors at its leaves. */
export interface EncoderNames {
  readonly embed: string
  readonly positions: string
  readonly segments?: string | undefined
  readonly lnEmbed: NamedLinear
  readonly project?: NamedLinear | undefined
  readonly blocks: readonly {
    readonly attn: Readonly<Record<'q' | 'k' | 'v' | 'o', NamedLinear>>
    readonly ln1: NamedLinear
    readonly mlp: Readonly<Record<'up' | 'down', NamedLinear>>
    readonly ln2: NamedLinear
  }[]
  readonly pooler?: NamedLinear | undefined
  readonly head?:
    | { readonly transform: NamedLinear; readonly norm: NamedLinear; readonly bias: string }
    | undefined
}
