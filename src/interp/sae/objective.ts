/** An architecture as an objective of the trainer: its loss, what is measured beside it, and its memory. */
import { type Tensor, zeros } from '../../array/index.ts'
import type { Objective } from '../../train/index.ts'
import type { SaeBatch, TrainedParams } from './architecture.ts'
import type { ChosenArchitecture } from './architectures/index.ts'
import type { SaeSizes } from './start.ts'

/** Rows of activations; `y` for a transcoder alone, `labels` for an architecture that is told of a concept. */
export interface SaeRows {
  readonly x: Tensor
  readonly y?: Tensor
  readonly labels?: Tensor
}

export interface SaeObjectiveOptions {
  readonly sizes: SaeSizes
  /** All steps of the run, for what changes during it. */
  readonly steps: number
  /** Tokens without it after which a feature is dead. */
  readonly deadAfter: number
}

/** What an SAE in training remembers. */
export interface SaeMemory {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  /** Tokens since each feature was active, f32 [d_sae]. */
  readonly age: Tensor
  readonly own: Readonly<Record<string, Tensor>>
}

/**
 * Its metrics: mse (‖y − ŷ‖², mean over tokens, in scaled units), explained_variance of the batch, l0 (active
 * features of a token), dead (share of features), and what the architecture adds.
 */
export function saeObjective(
  { architecture, options }: ChosenArchitecture,
  { sizes, steps, deadAfter }: SaeObjectiveOptions,
): Objective<TrainedParams, SaeRows> {
  const memory: SaeMemory = {
    step: zeros([]),
    age: zeros([sizes.dSae]),
    own: architecture.memory?.(sizes, options) ?? {},
  }
  return {
    id: architecture.id,
    axes: {},
    memory,
    loss(params, rows, _key, remembered) {
      const { step, age: before, own } = remembered as SaeMemory
      const batch: SaeBatch = { x: rows.x, y: rows.y ?? rows.x, labels: rows.labels }
      const size = batch.x.shape[0] as number
      const age = (counts: Tensor): Tensor => counts.greater(0).where(0, before.add(size))
      const dead = (counts: Tensor): Tensor => age(counts).greaterEqual(deadAfter)
      const around = { options, sizes, step, steps, memory: own, age, dead }
      const { loss, error, counts, metrics, memory: after = {} } = architecture.loss(params, batch, around)
      const square = error.mul(error).sum()
      const centred = batch.y.sub(batch.y.mean(0, { keep: true }))
      const reported: Record<string, Tensor> = {
        mse: square.mul(1 / size),
        explained_variance: square.div(centred.mul(centred).sum()).neg().add(1),
        l0: counts.sum().mul(1 / size),
        dead: dead(counts).cast('f32').mean(),
        ...metrics,
      }
      return {
        sum: loss.mul(size),
        weight: loss.zero().add(size),
        metrics: Object.fromEntries(
          Object.entries(reported).map(([name, value]) => [name, value.stopGradient().mul(size)]),
        ),
        memory: { step: step.add(1), age: age(counts), own: after } satisfies SaeMemory,
      }
    },
  }
}
