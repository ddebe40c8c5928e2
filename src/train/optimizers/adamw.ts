/**
 * AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay.
 *
 *   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
 *   p ← p − rate (m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε) + decay p)
 *
 * The state keeps the sums M = m / (1 − β₁) and V = v / (1 − β₂) instead of the means: the update is bound by
 * memory, and this takes 11 passes over the parameters instead of 14. All other factors are scalars.
 */
import * as z from 'zod'
import { mapTree, type Tensor, zeros, zipTrees } from '../../array/index.ts'
import { readOptions } from '../choice.ts'
import { filled } from '../correction.ts'
import { joinSmall } from '../joined.ts'
import { type Choices, chooseDecays, decayOptions, type Optimizer } from '../optimizer.ts'

const beta = z.number().nonnegative().lt(1)

export const adamwSchema = z.strictObject({
  beta1: beta.default(0.9).describe('Decay of the mean of gradients'),
  beta2: beta.default(0.999).describe('Decay of the mean of squares'),
  epsilon: z.number().positive().default(1e-8).describe('Added to the root of the mean square'),
  ...decayOptions,
})
export type AdamWOptions = z.input<typeof adamwSchema>

export interface AdamWState {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  /** Sums of gradients and of their squares, in the shape of the parameters. */
  readonly first: unknown
  readonly second: unknown
}

export function adamw(options: AdamWOptions = {}, choices: Choices = {}): Optimizer<AdamWState> {
  const read = readOptions(adamwSchema, options, 'adamw')
  const { beta1, beta2, epsilon, weightDecay } = read
  return joinSmall(chooseDecays(read, choices), (decayed) => ({
    init(params) {
      const empty = () => mapTree(params, (leaf) => zeros(leaf.sizes, leaf.dtype))
      return { step: zeros([]), first: empty(), second: empty() }
    },
    update(params, grads, state, rate) {
      const step = state.step.add(1)
      // m / (1 − β₁ᵗ) = first * toMean, and √(v / (1 − β₂ᵗ)) = √second * toRoot.
      const toMean = filled(beta1, step)
        .reciprocal()
        .mul(1 - beta1)
      const toRoot = filled(beta2, step)
        .reciprocal()
        .mul(1 - beta2)
        .sqrt()
      const factor = rate.mul(toMean).div(toRoot)
      const floor = toRoot.reciprocal().mul(epsilon)
      const keep = rate.mul(-weightDecay).add(1)

      const first = zipTrees([state.first, grads as unknown], ([sum, g]) => sum!.mul(beta1).add(g!))
      const second = zipTrees([state.second, grads as unknown], ([sum, g]) => sum!.mul(beta2).add(g!.mul(g!)))
      const updated = zipTrees([params as unknown, first, second], ([p, m, v], path) => {
        const kept = weightDecay === 0 || !decayed(path) ? p! : p!.mul(keep)
        return kept.sub(m!.div(v!.sqrt().add(floor)).mul(factor))
      })
      return { params: updated as typeof params, state: { step, first, second } }
    },
  }))
}
