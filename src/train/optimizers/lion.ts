/**
 * Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"): the sign of an interpolated momentum.
 *
 *   p ← p − rate (sign(β₁ m + (1 − β₁) g) + decay p),   m ← β₂ m + (1 − β₂) g
 *
 * Every element moves by the learning rate, so it should be 3 to 10 times smaller than AdamW's, and the decay larger
 * by as much. One moment instead of two. sign(0) is 0: without gradient and momentum nothing moves.
 */
import * as z from 'zod'
import { mapTree, type Tensor, zeros, zipTrees } from '../../array/index.ts'
import { readOptions } from '../choice.ts'
import { joinSmall } from '../joined.ts'
import { type Choices, chooseDecays, decayOptions, type Optimizer } from '../optimizer.ts'

const beta = z.number().nonnegative().lt(1)

export const lionSchema = z.strictObject({
  beta1: beta.default(0.9).describe('Share of the momentum in the direction'),
  beta2: beta.default(0.99).describe('Decay of the momentum'),
  ...decayOptions,
})
export type LionOptions = z.input<typeof lionSchema>

export interface LionState {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  /** m in the shape of the parameters. */
  readonly momentum: unknown
}

export function lion(options: LionOptions = {}, choices: Choices = {}): Optimizer<LionState> {
  const read = readOptions(lionSchema, options, 'lion')
  const { beta1, beta2, weightDecay } = read
  return joinSmall(chooseDecays(read, choices), (decayed) => ({
    init: (params) => ({
      step: zeros([]),
      momentum: mapTree(params, (leaf) => zeros(leaf.sizes, leaf.dtype)),
    }),
    update(params, grads, state, rate) {
      const keep = rate.mul(-weightDecay).add(1)
      const updated = zipTrees([params as unknown, grads, state.momentum], ([p, g, m], path) => {
        const kept = weightDecay === 0 || !decayed(path) ? p! : p!.mul(keep)
        const direction = m!
          .mul(beta1)
          .add(g!.mul(1 - beta1))
          .sign()
        return kept.sub(direction.mul(rate))
      })
      const momentum = zipTrees([state.momentum, grads as unknown], ([m, g]) =>
        m!.mul(beta2).add(g!.mul(1 - beta2)),
      )
      return { params: updated as typeof params, state: { step: state.step.add(1), momentum } }
    },
  }))
}
