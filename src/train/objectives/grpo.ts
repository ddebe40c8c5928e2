/**
 * Group relative policy optimization: answers to one prompt are compared with each other, no value head is needed
 * (Shao et al. 2024, "DeepSeekMath", https://arxiv.org/abs/2402.03300, eq. 3).
 *
 *   A = (r − mean of the group) / deviation of the group, the same for all tokens of an answer
 *   loss[t] = −min(ρ A, clip(ρ, 1 − clip, 1 + clipHigh) A) + penalty k₃,   k₃ = e^d − d − 1,  d = log π_ref − log π
 *
 * `average` says how tokens become one number: 'rows' (the paper: a mean over each answer, then over answers),
 * 'tokens' (Yu et al. 2025, "DAPO": one mean over all tokens), or 'length' (Liu et al. 2025, "Dr. GRPO",
 * https://arxiv.org/abs/2503.20783: sums over answers, divided by the constant `length`; with `scaled: false`).
 * Batches as in `policy.ts`, with the reference where there is a penalty.
 */
import * as z from 'zod'
import type { Tensor } from '../../array/index.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import type { Loss } from '../objective.ts'
import { groupAdvantages } from './advantages.ts'
import { type PolicyAlgorithm, readPolicy, surrogate } from './policy.ts'
import { counted, rowAxes } from './reading.ts'

export const grpoSchema = z
  .strictObject({
    clip: z.number().positive().max(1).default(0.2).describe('How far a ratio may fall'),
    clipHigh: z.number().positive().optional().describe('How far it may rise; as far by default'),
    penalty: z.number().nonnegative().default(0.04).describe('β: of each nat away from the reference'),
    scaled: z.boolean().default(true).describe("Whether advantages are divided by the group's deviation"),
    average: z.enum(['rows', 'tokens', 'length']).default('rows'),
    length: z.int().positive().optional().describe('The constant of average: length'),
  })
  .refine(({ average, length }) => (average === 'length') === (length !== undefined), {
    error: "goes with average 'length', and that with it",
    path: ['length'],
  })
export type GrpoOptions = z.output<typeof grpoSchema>

export function grpo(spec: DecoderSpec, options: GrpoOptions): PolicyAlgorithm {
  const { clip, clipHigh = clip, penalty, scaled } = options
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'grpo',
    axes: rowAxes,
    reader,
    needs: { value: false, reference: penalty > 0 },
    loss(parts, batch) {
      const { mask, reference, tokens } = batch
      const { logprobs, entropy } = readPolicy(reader, parts, tokens)
      const { losses, clipped } = surrogate(logprobs, batch, { low: clip, high: clipHigh })
      const average = (x: Tensor): Pick<Loss, 'sum' | 'weight'> => averaged(x, mask, options)
      const metrics = { clipped: average(clipped).sum, entropy: average(entropy).sum }
      if (penalty === 0) return { ...average(losses), metrics }
      if (!reference) throw new Error('grpo: a penalty needs batches with the reference')
      const apart = reference.sub(logprobs).mul(mask)
      const divergence = apart.exp().sub(apart).sub(1)
      return {
        ...average(losses.add(divergence.mul(penalty))),
        metrics: { ...metrics, divergence: average(divergence).sum },
      }
    },
    estimate: (answers) =>
      groupAdvantages(answers, scaled).map((advantage, i) => ({
        advantages: answers[i]!.logprobs.map(() => advantage),
      })),
  }
}

function averaged(x: Tensor, mask: Tensor, { average, length }: GrpoOptions): Pick<Loss, 'sum' | 'weight'> {
  if (average === 'tokens') return counted(x, mask)
  const rows = x.mul(mask).sum(1)
  return counted(average === 'rows' ? rows.div(mask.sum(1)) : rows.mul(1 / length!), undefined)
}
