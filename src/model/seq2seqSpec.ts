/** What an encoder-decoder of the T5 kind is made of, as data (Raffel et al. 2020). */
import type { Shape, Tensor } from '../array/index.ts'
import type { Activation, Linear, Norm } from './spec.ts'

export interface Seq2SeqSpec {
  readonly vocab: number
  readonly width: number
  /** Of the encoder and of the decoder. */
  readonly layers: { readonly encoder: number; readonly decoder: number }
  readonly heads: number
  readonly headSize: number
  readonly hidden: number
  readonly activation: Activation
  readonly gated: boolean
  readonly epsilon: number
  /** Distances between positions share a bias in buckets, logarithmic up to `distance`. */
  readonly buckets: number
  readonly distance: number
  /** Factor of the decoder's output before the head. */
  readonly outputScale: number
  /** The token that a target begins with. */
  readonly start: number
  readonly ends: readonly number[]
}

interface Attention {
  readonly q: Linear
  readonly k: Linear
  readonly v: Linear
  readonly o: Linear
}
type Ffn = { readonly gate?: Linear | undefined; readonly up: Linear; readonly down: Linear }
export interface StackParams {
  /** [buckets, heads], used by every layer. */
  readonly bias: Tensor
  readonly blocks: readonly {
    readonly ln1: Norm
    readonly attn: Attention
    /** Of a decoder: attention to the encoder's output. */
    readonly lnCross?: Norm | undefined
    readonly cross?: Attention | undefined
    readonly ln2: Norm
    readonly mlp: Ffn
  }[]
  readonly lnFinal: Norm
}
export interface Seq2SeqParams {
  /** [vocab, width], of encoder and decoder. */
  readonly embed: Tensor
  readonly encoder: StackParams
  readonly decoder: StackParams
  /** Without a head the embedding is used again. */
  readonly head?: Linear | undefined
}

/** A parameter tree with names of tensors at its leaves. */
export type Named<T> = T extends Tensor
  ? string
  : T extends object
    ? { readonly [K in keyof T]: Named<T[K]> }
    : T
export type Seq2SeqNames = Named<Seq2SeqParams>

/** The shapes that the parameters must have, by name. */
export function seq2seqShapes(spec: Seq2SeqSpec, names: Seq2SeqNames): Map<string, Shape> {
  const shapes = new Map<string, Shape>()
  const { width, heads, headSize, hidden, vocab } = spec
  const matrix = (part: { readonly weight: unknown } | undefined, from: number, to: number): void => {
    if (part) shapes.set(part.weight as string, [to, from])
  }
  const norm = (part: { readonly weight?: unknown } | undefined): void => {
    if (part) shapes.set(part.weight as string, [width])
  }
  const attention = (part: Named<Attention> | undefined): void => {
    if (!part) return
    for (const own of [part.q, part.k, part.v]) matrix(own, width, heads * headSize)
    matrix(part.o, heads * headSize, width)
  }
  shapes.set(names.embed, [vocab, width])
  for (const stack of [names.encoder, names.decoder]) {
    shapes.set(stack.bias, [spec.buckets, heads])
    for (const block of stack.blocks) {
      for (const own of [block.ln1, block.lnCross, block.ln2]) norm(own)
      attention(block.attn)
      attention(block.cross)
      matrix(block.mlp.gate, width, hidden)
      matrix(block.mlp.up, width, hidden)
      matrix(block.mlp.down, hidden, width)
    }
    norm(stack.lnFinal)
  }
  matrix(names.head, width, vocab)
  return shapes
}
