/**
 * Simple preference optimization: the reward is the mean log-probability, with a margin and without a reference
 * (Meng et al. 2024, https://arxiv.org/abs/2405.14734, eq. 6).
 *
 *   r(y) = (β / |y|) log π(y|x);   loss = −log σ(r(chosen) − r(rejected) − γ)
 */
import * as z from 'zod'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import type { Objective } from '../objective.ts'
import { likelihood, type PreferenceBatch, preferenceAxes, preferenceLoss } from './preference.ts'
import { logSigmoid } from './reading.ts'

export const simpoSchema = z.strictObject({
  beta: z.number().positive().default(2).describe('β: scale of the reward'),
  gamma: z.number().nonnegative().default(1).describe('γ: the margin, in rewards'),
})

export function simpo(
  spec: DecoderSpec,
  { beta, gamma }: z.output<typeof simpoSchema>,
): Objective<DecoderParams, PreferenceBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'simpo',
    axes: preferenceAxes,
    loss(params, { chosen, rejected }) {
      const [good, bad] = [chosen, rejected].map((answer) =>
        likelihood(reader, params, answer).mean.mul(beta),
      )
      return preferenceLoss(logSigmoid(good!.sub(bad!).sub(gamma)).neg(), good!, bad!)
    },
  }
}
