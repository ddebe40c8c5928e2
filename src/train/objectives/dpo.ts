/**
 * Direct preference optimization: the policy is a reward model relative to where it began (Rafailov et al. 2023,
 * https://arxiv.org/abs/2305.18290).
 *
 *   r(y) = β (log π(y|x) − log π_ref(y|x)),   m = r(chosen) − r(rejected)
 *   sigmoid:  −(1 − ε) log σ(m) − ε log σ(−m)         ε: labels that may be wrong (Mitchell 2023, "cDPO")
 *   ipo:      (m/β − 1/(2β))²                          (Azar et al. 2023, https://arxiv.org/abs/2310.12036, eq. 17)
 *
 * Log-probabilities are sums over the answer's tokens, in ipo too (some implementations take means there). The
 * reference is frozen: give it to the trainer as such (`referenced`).
 */
import * as z from 'zod'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import type { Objective } from '../objective.ts'
import {
  likelihood,
  type PolicyAndReference,
  type PreferenceBatch,
  preferenceAxes,
  preferenceLoss,
} from './preference.ts'
import { logSigmoid } from './reading.ts'

export const dpoSchema = z
  .strictObject({
    beta: z.number().positive().default(0.1).describe('β: how much staying near the reference counts'),
    loss: z.enum(['sigmoid', 'ipo']).default('sigmoid'),
    labelSmoothing: z.number().min(0).max(0.5).default(0).describe('ε: share of the labels that are wrong'),
  })
  .refine(({ loss, labelSmoothing }) => loss === 'sigmoid' || labelSmoothing === 0, {
    error: 'labelSmoothing is of the sigmoid loss',
    path: ['labelSmoothing'],
  })

export function dpo(
  spec: DecoderSpec,
  { beta, loss, labelSmoothing }: z.output<typeof dpoSchema>,
): Objective<PolicyAndReference, PreferenceBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'dpo',
    axes: preferenceAxes,
    loss({ policy, reference }, { chosen, rejected }) {
      const [good, bad] = [chosen, rejected].map((answer) =>
        likelihood(reader, policy, answer)
          .sum.sub(likelihood(reader, reference, answer).sum)
          .mul(beta),
      )
      const margin = good!.sub(bad!)
      const losses =
        loss === 'ipo'
          ? margin
              .div(beta)
              .sub(1 / (2 * beta))
              .pow(2)
          : logSigmoid(margin)
              .mul(labelSmoothing - 1)
              .sub(logSigmoid(margin.neg()).mul(labelSmoothing))
      return preferenceLoss(losses, good!, bad!)
    },
  }
}
