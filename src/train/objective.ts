/** What training minimises: a function of a model, a batch and random numbers, written as sums that can be added up. */
import type { Axes, Tensor } from '../array/index.ts'

export interface Loss {
  /** Sum over all that counts, an f32 scalar. What is minimised is `sum / weight`. */
  readonly sum: Tensor
  /** How much counts: target tokens, rows or pairs; an f32 scalar. It may differ from batch to batch. */
  readonly weight: Tensor
  /** Other sums to report, divided by the same weight. */
  readonly metrics?: Readonly<Record<string, Tensor>>
}

/** `Parts` is what the objective needs of the model: the decoder's parameters, or those with a head, and so on. */
export interface Objective<Parts, Batch> {
  readonly id: string
  /** Names of the batch's axes, for all of its tensors or by branch: sizes that may change without compiling anew. */
  readonly axes: Axes
  /** `key` is an i64 scalar, another one in each step: the seed of what is random in a loss. */
  loss(parts: Parts, batch: Batch, key: Tensor): Loss
}
