/**
 * Stochastic gradient descent with momentum, as `torch.optim.SGD` (Sutskever et al. 2013, with the learning rate
 * outside of the momentum):
 *
 *   d = g + decay p (coupled),   M ← μ M + d,   p ← p − rate (M, or with Nesterov d + μ M)
 *
 * Decoupled, the decay is outside of the momentum, as in SGDW (Loshchilov and Hutter 2019, with the learning rate for
 * their schedule multiplier): p ← (1 − rate decay) p − rate M. Dampening is left out.
 */
import * as z from 'zod'
import { mapTree, type Tensor, zeros, zipTrees } from '../../array/index.ts'
import { readOptions } from '../choice.ts'
import { joinSmall } from '../joined.ts'
import { type Choices, chooseDecays, decayOptions, type Optimizer } from '../optimizer.ts'

export const sgdSchema = z.strictObject({
  momentum: z.number().nonnegative().lt(1).default(0).describe('Share of past directions that is kept'),
  nesterov: z.boolean().default(false).describe('Look ahead by one step of momentum'),
  decoupled: z.boolean().default(false).describe('Decay outside of the momentum; inside, as in torch.optim'),
  ...decayOptions,
})
export type SgdOptions = z.input<typeof sgdSchema>

export interface SgdState {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  /** M in the shape of the parameters; absent without momentum. */
  readonly momentum?: unknown
}

export function sgd(options: SgdOptions = {}, choices: Choices = {}): Optimizer<SgdState> {
  const read = readOptions(sgdSchema, options, 'sgd')
  const { momentum, nesterov, decoupled, weightDecay } = read
  if (nesterov && momentum === 0) throw new Error('sgd: nesterov needs a momentum above 0')
  return joinSmall(chooseDecays(read, choices), (decayed) => ({
    init: (params) => ({
      step: zeros([]),
      ...(momentum > 0 && { momentum: mapTree(params, (leaf) => zeros(leaf.sizes, leaf.dtype)) }),
    }),
    update(params, grads, state, rate) {
      const decaying = (path: string): boolean => weightDecay > 0 && decayed(path)
      const keep = rate.mul(-weightDecay).add(1)
      const direction = zipTrees([grads, params], ([g, p], path) =>
        decaying(path) && !decoupled ? g!.add(p!.mul(weightDecay)) : g!,
      )
      const sums =
        momentum > 0
          ? zipTrees([state.momentum, direction as unknown], ([sum, d]) => sum!.mul(momentum).add(d!))
          : direction
      const updated = zipTrees([params as unknown, direction, sums], ([p, d, sum], path) => {
        const kept = decaying(path) && decoupled ? p!.mul(keep) : p!
        return kept.sub((nesterov ? sum!.mul(momentum).add(d!) : sum!).mul(rate))
      })
      return {
        params: updated as typeof params,
        state: { step: state.step.add(1), ...(momentum > 0 && { momentum: sums }) },
      }
    },
  }))
}
