/** What an architecture of SAEs is: how it begins, what it minimises, and what it is when it is trained. */
import type * as z from 'zod'
import type { Tensor } from '../../array/index.ts'
import type { Sae, SaeConfig, SaeParams } from './sae.ts'
import type { SaeSizes, StartSample } from './start.ts'

/** A tree of parameters in training: SAELens' names, or some that make them. */
export type TrainedParams = Readonly<Record<string, Tensor>>

/** One batch, scaled: what is read, and what is to be given back. The same tensor but for a transcoder. */
export interface SaeBatch {
  /** [batch, d_in] */
  readonly x: Tensor
  /** [batch, d_out] */
  readonly y: Tensor
  /** f32 [batch], 0 to 1: how much of a concept each row has, for architectures that are told of one. */
  readonly labels?: Tensor | undefined
}

export interface Surroundings<Options> {
  readonly options: Options
  readonly sizes: SaeSizes
  /** Steps taken before this one, an f32 scalar. */
  readonly step: Tensor
  /** All steps of the run. */
  readonly steps: number
  /** What the architecture remembers, as it is before this batch. */
  readonly memory: Readonly<Record<string, Tensor>>
  /**
   * Tokens since each feature was active, f32 [d_sae], and which of them are dead by that, bool [d_sae]; told how many
   * rows of this batch each was active on.
   */
  readonly age: (counts: Tensor) => Tensor
  readonly dead: (counts: Tensor) => Tensor
}

export interface Forward {
  /** Mean over the batch, a scalar. */
  readonly loss: Tensor
  /** Given minus wanted, [batch, d_out]. */
  readonly error: Tensor
  /** Rows of the batch on which each feature is active, f32 [d_sae]. */
  readonly counts: Tensor
  /** Other scalars worth knowing. */
  readonly metrics?: Readonly<Record<string, Tensor>>
  readonly memory?: Readonly<Record<string, Tensor>>
}

export interface Architecture<Options = Readonly<Record<string, unknown>>> {
  readonly id: string
  readonly title: string
  readonly options: z.ZodObject
  /** Whether rows of W_dec are kept at norm 1. */
  readonly unitNorm: (options: Options) => boolean
  readonly init: (sizes: SaeSizes, options: Options, sample: StartSample, seed: number) => TrainedParams
  /** What it remembers before the first step. */
  readonly memory?: (sizes: SaeSizes, options: Options) => Readonly<Record<string, Tensor>>
  readonly loss: (params: TrainedParams, batch: SaeBatch, around: Surroundings<Options>) => Forward
  /** The trained SAE, for activations as they were scaled: concrete parameters and memory. */
  readonly finish: (
    params: TrainedParams,
    memory: Readonly<Record<string, Tensor>>,
    sizes: SaeSizes,
    options: Options,
  ) => Sae
}

export const architecture = <Options>(definition: Architecture<Options>): Architecture =>
  definition as unknown as Architecture

/** The configuration of a trained SAE. */
export const configOf = (
  { dIn, dOut, dSae, transcoder }: SaeSizes,
  kind: SaeConfig['architecture'],
  more: Partial<SaeConfig> = {},
): SaeConfig => ({
  architecture: kind,
  dIn,
  dOut,
  dSae,
  transcoder,
  subtractBias: !transcoder,
  normalize: 'none',
  ...more,
})

/** (x − b_dec) W_enc, [batch, d_sae]; a transcoder's x as it is. */
export function linear(params: TrainedParams, x: Tensor, { transcoder }: SaeSizes): Tensor {
  const { W_enc, b_dec } = params as unknown as SaeParams
  return (transcoder ? x : x.sub(b_dec)).matmul(W_enc)
}

/** Σ over the width, mean over the batch. */
export function meanSquare(error: Tensor): Tensor {
  const batch = error.shape[0] as number
  return error
    .mul(error)
    .sum()
    .mul(1 / batch)
}

/** Share of a penalty in step `step`: from 0 up to 1 over the first steps. */
export const warmUp = (step: Tensor, steps: number): Tensor | number =>
  steps === 0 ? 1 : step.mul(1 / steps).minimum(1)

/** ReLU by its mask, of which counts and gradients are made too: [batch, d_sae] each. */
export function rectified(before: Tensor): { readonly features: Tensor; readonly active: Tensor } {
  const active = before.greater(0).cast(before.dtype)
  return { features: active.mul(before), active }
}
