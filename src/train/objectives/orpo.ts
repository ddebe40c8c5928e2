/**
 * Odds ratio preference optimization: learning the chosen answer and preferring it, in one loss without a reference
 * (Hong et al. 2024, https://arxiv.org/abs/2403.07691, eq. 6).
 *
 *   log p = mean over the answer's tokens of log p(token);   log odds = log p − log(1 − p)
 *   loss = −log p(chosen) − λ log σ(log odds(chosen) − log odds(rejected))
 *
 * Means are taken over tokens of each answer, then over pairs; the prompt is not learned.
 */
import * as z from 'zod'
import type { Tensor } from '../../array/index.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import type { Objective } from '../objective.ts'
import { likelihood, type PreferenceBatch, preferenceAxes, preferenceLoss } from './preference.ts'
import { logSigmoid } from './reading.ts'

export const orpoSchema = z.strictObject({
  lambda: z.number().nonnegative().default(0.1).describe('λ: how much the preference counts'),
})

/** Of a mean log-probability; an answer that is certain has odds of about 2²⁴. */
const logOdds = (logp: Tensor): Tensor =>
  logp.sub(
    logp
      .exp()
      .neg()
      .add(1)
      .maximum(2 ** -24)
      .log(),
  )

export function orpo(
  spec: DecoderSpec,
  { lambda }: z.output<typeof orpoSchema>,
): Objective<DecoderParams, PreferenceBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'orpo',
    axes: preferenceAxes,
    loss(params, { chosen, rejected }) {
      const good = likelihood(reader, params, chosen).mean
      const bad = likelihood(reader, params, rejected).mean
      const preferred = logSigmoid(logOdds(good).sub(logOdds(bad)))
      const losses = good.neg().sub(preferred.mul(lambda))
      // Rewards as in the paper's figures: λ log p.
      return preferenceLoss(losses, good.mul(lambda), bad.mul(lambda))
    },
  }
}
