/** What a decoder is made of, as data; a family file maps a checkpoint's configuration onto it. */
import type { Tensor } from '../array/index.ts'

export interface DecoderSpec {
  readonly vocab: number
  /** Size of the residual stream. */
  readonly width: number
  readonly layers: number
  /** Most positions the model was made for. */
  readonly context: number
  /** Factor of the embeddings; 1 by default. */
  readonly embedScale?: number
  readonly norm: NormSpec
  readonly position: PositionSpec
  readonly attention: AttentionSpec
  /**
   * Attention and feed-forward part read the same residual, and both are added to it: through the same norm
   * ('one norm') or one each ('two norms').
   */
  readonly parallel?: 'one norm' | 'two norms' | undefined
  readonly ffn: {
    /** `gated`: activation(gate(x)) * up(x) (Shazeer 2020). */
    readonly kind: 'plain' | 'gated'
    readonly hidden: number
    readonly activation: Activation
    /** Several such parts, of which a router chooses `active` for each token (Shazeer et al. 2017). */
    readonly experts?: ExpertSpec | undefined
  }
  /** Logits are cap tanh(logits / cap). */
  readonly logitSoftcap?: number | undefined
  /** Order of the axes of weight matrices in the checkpoint, which is kept: `x Wᵀ` or `x W`. */
  readonly layout: 'out-in' | 'in-out'
}

export interface NormSpec {
  readonly kind: 'layer' | 'rms'
  readonly epsilon: number
  /** What is added to the stored weights: 1 where they are differences from 1 (Gemma). */
  readonly offset?: number
  /** Where it stands: before a part reads the residual (the default), after the part, or both. */
  readonly place?: 'before' | 'after' | 'both'
}

export type PositionSpec =
  /** A table of embeddings whose first `offset` rows are not used. */
  { readonly kind: 'learned'; readonly offset?: number } | RotarySpec

export interface RotarySpec {
  readonly kind: 'rotary'
  readonly base: number
  /** Pairs are neighbours (llama2.c, GGUF) and not halves of a head (Hugging Face). */
  readonly interleaved: boolean
  /** Dimensions of a head that are rotated, from the first on; all by default. */
  readonly size?: number
  readonly scaling?: RotaryScaling | undefined
  /** Base of the layers with a window, where it is another one; those are not scaled (Gemma 3). */
  readonly windowedBase?: number
}

/** How a model goes beyond the context it was first trained for. */
export type RotaryScaling =
  /** Positions divided by a factor (Chen et al. 2023). */
  | { readonly kind: 'linear'; readonly factor: number }
  /** Long wavelengths divided by a factor, short ones kept, and a slope between (Llama 3.1). */
  | {
      readonly kind: 'llama3'
      readonly factor: number
      readonly lowFrequencyFactor: number
      readonly highFrequencyFactor: number
      readonly originalContext: number
    }

export interface AttentionSpec {
  readonly heads: number
  /** Fewer than `heads`: grouped queries share keys and values (Ainslie et al. 2023). */
  readonly keyValueHeads: number
  readonly headSize: number
  /** Factor of the scores; 1 / √headSize by default. */
  readonly scale?: number
  /** Scores are cap tanh(scores / cap). */
  readonly softcap?: number | undefined
  /** RMS norms of queries and keys before they are rotated: of each head, or across all heads. */
  readonly normalize?: 'head' | 'all'
  /** Queries, keys and values are clamped to this size. */
  readonly clip?: number | undefined
  /** Most tokens that a position sees, itself included, in the layers marked (all where none are given). */
  readonly window?: { readonly size: number; readonly layers?: readonly boolean[] } | undefined
  /** A joined projection holds each head's query, key and value together, not all queries first (GPT-NeoX). */
  readonly joinedByHead?: boolean
}

export interface ExpertSpec {
  readonly count: number
  readonly active: number
  /** Whether the weights of the chosen ones are divided by their sum. */
  readonly normalized: boolean
}

/** The window of a layer, if it has one. */
export const windowOf = ({ attention }: DecoderSpec, layer: number): number | undefined =>
  attention.window && (attention.window.layers?.[layer] ?? true) ? attention.window.size : undefined

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
  /** What changes the map beside its weight, one after the other; see `adapters.ts`. */
  readonly adapters?: readonly LinearAdapter[] | undefined
}
/** Every change is multiplied by `strength`, f32 []: at 0 the map is what it was. */
export type LinearAdapter = LowRank | Scaling
/** W + scale b a (LoRA, Hu et al. 2021), or magnitude times the direction of that (DoRA, Liu et al. 2024). */
export interface LowRank {
  /** [rank, in] */
  readonly a: Tensor
  /** [out, rank] */
  readonly b: Tensor
  /** [out] */
  readonly magnitude?: Tensor | undefined
  /** f32 [] */
  readonly scale: Tensor
  readonly strength: Tensor
}
/** Inputs [in] or outputs [out] times a vector (IA3, Liu et al. 2022). */
export type Scaling =
  | { readonly inputs: Tensor; readonly strength: Tensor }
  | { readonly outputs: Tensor; readonly strength: Tensor }
/** Without a weight it only normalises (OLMo). */
export interface Norm {
  readonly weight?: Tensor | undefined
  readonly bias?: Tensor | undefined
}
/** Queries, keys and values in three matrices or in one. */
export type Projections =
  | { readonly q: Linear; readonly k: Linear; readonly v: Linear }
  | { readonly qkv: Linear }
export type AttentionParams = Projections & {
  readonly o: Linear
  /** [headSize], or [heads * headSize] where all heads are normalised together. */
  readonly qNorm?: Norm | undefined
  readonly kNorm?: Norm | undefined
  readonly prefix?: Prefix | undefined
}
/** Keys (rotated already) and values before all tokens: [keyValueHeads, P, headSize] each (Li and Liang 2021). */
export interface Prefix {
  readonly keys: Tensor
  readonly values: Tensor
}
export type DenseParams =
  | { readonly up: Linear; readonly down: Linear }
  | { readonly gate: Linear; readonly up: Linear; readonly down: Linear }
  | { readonly gateUp: Linear; readonly down: Linear }
export interface ExpertParams {
  /** From the width to the number of experts. */
  readonly router: Linear
  readonly experts: readonly DenseParams[]
}
export type FfnParams = DenseParams | ExpertParams
export interface BlockParams {
  /** Before attention. */
  readonly ln1?: Norm | undefined
  readonly attn: AttentionParams
  /** After attention, before it is added to the residual. */
  readonly ln1Post?: Norm | undefined
  readonly ln2?: Norm | undefined
  readonly mlp: FfnParams
  readonly ln2Post?: Norm | undefined
}
export interface DecoderParams {
  /** [vocab, width] */
  readonly embed: Matrix
  /** Changes of the look-up, with `a` [rank, vocab] and `b` [width, rank]. A tied head stays as it is. */
  readonly embedAdapters?: readonly LowRank[] | undefined
  /** Embeddings before those of all tokens, [P, width] (Lester et al. 2021). */
  readonly prompt?: Tensor | undefined
  /** Learned positions [context, width]. */
  readonly positions?: Tensor | undefined
  readonly blocks: readonly BlockParams[]
  readonly lnFinal: Norm
  /** Without a head the embedding is used again (tied). */
  readonly head?: Linear | undefined
}
