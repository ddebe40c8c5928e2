/**
 * AdamW (Loshchilov and Hutter 2019): Adam with decoupled weight decay.
 *
 *   m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
 *   p ← p − rate (m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε) + decay p)
 *
 * The state keeps the sums M = m / (1 − β₁) and V = v / (1 − β₂) instead of the means: the update is bound by
 * memory, and this takes 11 passes over the parameters instead of 14. All other factors are scalars.
 */
import { mapTree, scalar, type Tensor, zeros, zipTrees } from '../../array/index.ts'
import { type Decays, joinSmall, decays as matrices, type Optimizer } from '../optimizer.ts'

export interface AdamWOptions {
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  /** Per step and unit of learning rate, on the parameters that `decays` chooses: matrices by default. */
  readonly weightDecay?: number
  readonly decays?: Decays
}

export interface AdamWState {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  /** Sums of gradients and of their squares, in the shape of the parameters. */
  readonly first: unknown
  readonly second: unknown
}

export function adamw(options: AdamWOptions = {}): Optimizer<AdamWState> {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, decays = matrices } = options
  return joinSmall(decays, (decayed) => ({
    init(params) {
      const empty = () => mapTree(params, (leaf) => zeros(leaf.sizes, leaf.dtype))
      return { step: zeros([]), first: empty(), second: empty() }
    },
    update(params, grads, state, rate) {
      const step = state.step.add(1)
      // In f64: 1 − 0.999ᵗ loses four digits in f32.
      const correction = (beta: number): Tensor => scalar(beta, 'f64').pow(step.cast('f64')).neg().add(1)
      // m / (1 − β₁ᵗ) = first * toMean, and √(v / (1 − β₂ᵗ)) = √second * toRoot.
      const toMean = correction(beta1)
        .reciprocal()
        .mul(1 - beta1)
        .cast('f32')
      const toRoot = correction(beta2)
        .reciprocal()
        .mul(1 - beta2)
        .sqrt()
        .cast('f32')
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
