/** What a decoder is made of, as data; a family file maps a checkpoint's configuration onto it. */
import type { Tensor } from '../array/index.ts'

export interface DecoderSpec {
  readonly vocab: number
  /** Size of the residual stream. */
  readonly width: number
  readonly layers: number
  /** Most positions the model was made for. */
  readonly context: number
  readonly norm: { readonly kind: 'layer' | 'rms'; readonly epsilon: number }
  readonly position:
    | { readonly kind: 'learned' }
    /** `interleaved`: pairs are neighbours (llama2.c, GGUF) and not halves of a head (Hugging Face). */
    | { readonly kind: 'rotary'; readonly base: number; readonly interleaved: boolean }
  readonly attention: {
    readonly heads: number
    /** Fewer than `heads`: grouped queries share keys and values (Ainslie et al. 2023). */
    readonly keyValueHeads: number
    readonly headSize: number
  }
  readonly ffn: {
    /** `gated`: activation(gate(x)) * up(x) (Shazeer 2020). */
    readonly kind: 'plain' | 'gated'
    readonly hidden: number
    readonly activation: Activation
  }
  /** Order of the axes of weight matrices in the checkpoint, which is kept: `x Wᵀ` or `x W`. */
  readonly layout: 'out-in' | 'in-out'
}

export type Activation = 'gelu' | 'gelu-tanh' | 'silu' | 'relu'

/** A weight matrix: as it is, or quantised in blocks along its input axis (see `array/quantized.ts`). */
export type Matrix = Tensor | QuantizedMatrix
export interface QuantizedMatrix {
  /** u8 [out, blocks, bytes of a block] */
  readonly packed: Tensor
  /** f32 [out, blocks] */
  readonly scales: Tensor
}

export interface Linear {
  readonly weight: Matrix
  readonly bias?: Tensor | undefined
}
export interface Norm {
  readonly weight: Tensor
  readonly bias?: Tensor | undefined
}
/** Queries, keys and values in three matrices or in one. */
export type Projections =
  | { readonly q: Linear; readonly k: Linear; readonly v: Linear }
  | { readonly qkv: Linear }
export type AttentionParams = Projections & { readonly o: Linear }
export type FfnParams =
  | { readonly up: Linear; readonly down: Linear }
  | { readonly gate: Linear; readonly up: Linear; readonly down: Linear }
  | { readonly gateUp: Linear; readonly down: Linear }
export interface BlockParams {
  readonly ln1: Norm
  readonly attn: AttentionParams
  readonly ln2: Norm
  readonly mlp: FfnParams
}
export interface DecoderParams {
  /** [vocab, width] */
  readonly embed: Matrix
  /** Learned positions [context, width]. */
  readonly positions?: Tensor | undefined
  readonly blocks: readonly BlockParams[]
  readonly lnFinal: Norm
  /** Without a head the embedding is used again (tied). */
  readonly head?: Linear | undefined
}
