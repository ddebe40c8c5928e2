/** What training minimises: a function of a model, a batch and random numbers, written as sums that can be added up. */
import type { Axes, Tensor } from '../array/index.ts'

export interface Loss {
  /** Sum over all that counts, an f32 scalar. What is minimised is `sum / weight`. */
  readonly sum: Tensor
  /** How much counts: target tokens, rows or pairs; an f32 scalar. It may differ from batch to batch. */
  readonly weight: Tensor
  /** Other sums to report, divided by the same weight. */
  readonly metrics?: Readonly<Record<string, Tensor>>
  /** What the objective remembers after this batch, where it remembers anything. */
  readonly memory?: unknown
}

/** `Parts` is what the objective needs of the model: the decoder's parameters, or those with a head, and so on. */
export interface Objective<Parts, Batch> {
  readonly id: string
  /** Names of the batch's axes, for all of its tensors or by branch: sizes that may change without compiling anew. */
  readonly axes: Axes
  /**
   * A tree of what is carried from batch to batch without being trained, such as counters and running means, as it is
   * before the first. It is part of the run's state.
   */
  readonly memory?: unknown
  /** `key` is an i64 scalar, another one in each step: the seed of what is random in a loss. */
  loss(parts: Parts, batch: Batch, key: Tensor, memory?: unknown): Loss
}
