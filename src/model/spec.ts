/** What a decoder is made of, as data; a family file maps a checkpoint's configuration onto it. */
import type { Tensor } from '../array/index.ts'

export interface DecoderSpec {
  readonly vocab: number
  /** Size of the residual stream. */
  readonly width: number
  readonly layers: number
  /** Most positions the model was made for; Infinity where nothing bounds them. */
  readonly context: number
  /** Of the embeddings, which are projected to `width` and back where it is another (OPT-350m). */
  readonly embedWidth?: number
  /** Factor of the embeddings; 1 by default. */
  readonly embedScale?: number
  readonly norm: NormSpec
  readonly position: PositionSpec
  /** How positions are mixed: by attention, or by a state that goes from one to the next. */
  readonly attention?: AttentionSpec | undefined
  readonly stateSpace?: StateSpaceSpec | undefined
  /** Which of the two each layer has, in a decoder that has both. */
  readonly mixers?: readonly Mixer[] | undefined
  /**
   * Attention and feed-forward part read the same residual, and both are added to it: through the same norm
   * ('one norm') or one each ('two norms').
   */
  readonly parallel?: 'one norm' | 'two norms' | undefined
  /** The feed-forward part of a block; some mixers do its work too (Mamba). */
  readonly ffn?: FfnSpec | undefined
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
  /**
   * Where it stands: before a part reads the residual (the default), after the part, or both; or after their sum,
   * which it replaces, with no norm at the end (Vaswani et al. 2017; OPT-350m).
   */
  readonly place?: 'before' | 'after' | 'both' | 'sum'
}

export type PositionSpec =
  /** A table of embeddings whose first `offset` rows are not used. */
  | { readonly kind: 'learned'; readonly offset?: number }
  | RotarySpec
  /** The order of tokens is known from the mixer. */
  | { readonly kind: 'none' }

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
  /**
   * A greater base beyond `originalContext` (NTK-aware; "dynamic" in Hugging Face). There it grows with each sequence,
   * and keys in a cache keep older angles; here it is the one for the context that the model is opened with.
   */
  | { readonly kind: 'dynamic'; readonly factor: number; readonly originalContext: number }
  /**
   * YaRN (Peng et al. 2023, equations 23 and 24): pairs that turn more than `fast` times within `originalContext` are
   * kept, those that turn less than `slow` times are divided by the factor, with a slope between; cos and sin are
   * multiplied by `magnitude`.
   */
  | {
      readonly kind: 'yarn'
      readonly factor: number
      readonly originalContext: number
      readonly fast: number
      readonly slow: number
      /** Whether the ends of the slope are rounded to whole pairs. */
      readonly truncate: boolean
      readonly magnitude: number
    }
  /**
   * LongRoPE (Ding et al. 2024): every pair divided by a factor of its own, from one list up to `originalContext` and
   * from another where the model is opened with more; cos and sin multiplied by `magnitude`.
   */
  | {
      readonly kind: 'longrope'
      readonly short: readonly number[]
      readonly long: readonly number[]
      readonly originalContext: number
      readonly magnitude: number
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

/**
 * A selective state space (Gu and Dao 2023): each of `inner` channels, after a short causal convolution, drives
 * `state` numbers that decay at a pace which the token itself decides.
 */
export interface StateSpaceSpec {
  /** Channels. */
  readonly inner: number
  /** Numbers in the state of a channel. */
  readonly state: number
  /** Tokens that the convolution sees, the last one included. */
  readonly kernel: number
  /** Numbers that the step sizes of all channels are projected from. */
  readonly rank: number
  /** After the convolution, and of the gate. */
  readonly activation: Activation
}

export interface FfnSpec {
  /** `gated`: activation(gate(x)) * up(x) (Shazeer 2020). */
  readonly kind: 'plain' | 'gated'
  readonly hidden: number
  readonly activation: Activation
  /** Several such parts, of which a router chooses `active` for each token (Shazeer et al. 2017). */
  readonly experts?: ExpertSpec | undefined
}

export interface ExpertSpec {
  readonly count: number
  readonly active: number
  /** Whether the weights of the chosen ones are divided by their sum. */
  readonly normalized: boolean
}

/** The window of a layer, if it has one. */
export const windowOf = ({ attention }: DecoderSpec, layer: number): number | undefined =>
  attention?.window && (attention.window.layers?.[layer] ?? true) ? attention.window.size : undefined

/** What mixes the positions of a layer. */
export function mixerOf({ attention, stateSpace, mixers }: DecoderSpec, layer: number): Mixer {
  const mixer = mixers?.[layer]
  if (mixer) return mixer
  if (attention && stateSpace)
    throw new Error(
      `this decoder has attention and a state space: mixers does not say which layer ${layer} has`,
    )
  return stateSpace ? 'stateSpace' : 'attention'
}

/** A part that the caller cannot do without; throws where the decoder has none. */
export function partOf<P extends 'attention' | 'stateSpace' | 'ffn'>(
  spec: DecoderSpec,
  part: P,
): NonNullable<DecoderSpec[P]> {
  const found = spec[part]
  if (!found) throw new Error(`this decoder has no ${partNames[part]}`)
  return found
}

const partNames = { attention: 'attention', stateSpace: 'state space', ffn: 'feed-forward part' } as const

export type Mixer = 'attention' | 'stateSpace'

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
/** What a state space is made of. */
export interface StateSpaceParams {
  /** [2 inner, width] in the layout 'out-in': what goes through the state, then the gate. */
  readonly input: Linear
  /** Weight [inner, 1, kernel], bias [inner]. */
  readonly conv: { readonly weight: Tensor; readonly bias?: Tensor | undefined }
  /** From `inner` to rank + 2 state: the step's low rank, and what is written to and read from the state. */
  readonly select: Linear
  /** From the rank to a step of each channel. */
  readonly step: Linear
  /** [inner, state]; the decay is -exp of it. */
  readonly logDecay: Tensor
  /** [inner]: how much of a channel passes by the state. */
  readonly skip: Tensor
  readonly output: Linear
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
  /** Before the mixer, or after its sum with the residual. */
  readonly ln1?: Norm | undefined
  /** What mixes positions is one of these. */
  readonly attn?: AttentionParams | undefined
  readonly ssm?: StateSpaceParams | undefined
  /** After the mixer, before it is added to the residual. */
  readonly ln1Post?: Norm | undefined
  readonly ln2?: Norm | undefined
  readonly mlp?: FfnParams | undefined
  readonly ln2Post?: Norm | undefined
}
export interface DecoderParams {
  /** [vocab, width of the embeddings] */
  readonly embed: Matrix
  /** Changes of the look-up, with `a` [rank, vocab] and `b` [width, rank]. A tied head stays as it is. */
  readonly embedAdapters?: readonly LowRank[] | undefined
  /** Embeddings before those of all tokens, [P, width] (Lester et al. 2021). */
  readonly prompt?: Tensor | undefined
  /** Learned positions [context, width]. */
  readonly positions?: Tensor | undefined
  /** From the width of the embeddings to that of the residual, and back: [out, in]. */
  readonly projectIn?: Linear | undefined
  readonly projectOut?: Linear | undefined
  readonly blocks: readonly BlockParams[]
  readonly lnFinal?: Norm | undefined
  /** Without a head the embedding is used again (tied). */
  readonly head?: Linear | undefined
}
