/**
 * Proximal policy optimization for language models: a value head judges each token, and a penalty keeps the policy
 * near its reference (Schulman et al. 2017, https://arxiv.org/abs/1707.06347; Ziegler et al. 2019,
 * https://arxiv.org/abs/1909.08593).
 *
 *   r[t] = −penalty (log π_old[t] − log π_ref[t]),  plus the answer's reward at its last token;  A, R by GAE
 *   loss = mean over t of −min(ρ A, clip(ρ, 1 ± clip) A) + valueWeight ½ max((V − R)², (V' − R)²) − entropyWeight H
 *
 * ρ = π / π_old; V' is V held within valueClip of what it was. Batches as in `policy.ts`, with values and returns.
 * Advantages are normalised over all answers of a rollout where `normalize` is set.
 */
import * as z from 'zod'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import { generalizedAdvantages, normalizedLists } from './advantages.ts'
import { type PolicyAlgorithm, readPolicy, surrogate } from './policy.ts'
import { counted, rowAxes } from './reading.ts'

export const ppoSchema = z.strictObject({
  clip: z.number().positive().max(1).default(0.2).describe('How far a ratio may move'),
  valueClip: z.number().positive().default(0.2).describe('How far a value may move'),
  valueWeight: z.number().nonnegative().default(0.5),
  entropyWeight: z.number().nonnegative().default(0).describe('Bonus for keeping open what comes next'),
  penalty: z.number().nonnegative().default(0.05).describe('Of each nat away from the reference'),
  gamma: z.number().gt(0).max(1).default(1).describe('γ: what a later reward is worth'),
  lambda: z.number().min(0).max(1).default(0.95).describe('λ: 0 trusts the values, 1 the rewards'),
  normalize: z.boolean().default(true).describe('Advantages of mean 0 and deviation 1'),
})

export function ppo(spec: DecoderSpec, options: z.output<typeof ppoSchema>): PolicyAlgorithm {
  const { clip, valueClip, valueWeight, entropyWeight, penalty, normalize } = options
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'ppo',
    axes: rowAxes,
    reader,
    needs: { value: true, reference: penalty > 0 },
    loss(parts, batch) {
      const { mask, values: before, returns, tokens } = batch
      const { logprobs, entropy, values } = readPolicy(reader, parts, tokens)
      if (!values || !before || !returns)
        throw new Error('ppo: needs a value head, and batches with values and returns')
      const { losses, clipped } = surrogate(logprobs, batch, { low: clip, high: clip })
      const held = values.maximum(before.sub(valueClip)).minimum(before.add(valueClip))
      const error = values.sub(returns).pow(2).maximum(held.sub(returns).pow(2)).mul(0.5)
      const all = losses.add(error.mul(valueWeight)).sub(entropy.mul(entropyWeight))
      return {
        ...counted(all, mask),
        metrics: {
          policyLoss: losses.mul(mask).sum(),
          valueLoss: error.mul(mask).sum(),
          entropy: entropy.mul(mask).sum(),
          clipped: clipped.mul(mask).sum(),
        },
      }
    },
    estimate(answers) {
      const estimates = answers.map(({ reward, logprobs, reference, values }) => {
        if (!values) throw new Error('ppo: answers without values')
        if (penalty > 0 && !reference) throw new Error('ppo: a penalty needs the reference')
        const rewards = logprobs.map((logprob, t) => (reference ? -penalty * (logprob - reference[t]!) : 0))
        rewards[rewards.length - 1]! += reward
        return generalizedAdvantages(rewards, values, options)
      })
      if (!normalize) return estimates
      const lists = normalizedLists(estimates.map(({ advantages }) => advantages))
      return estimates.map(({ returns }, i) => ({ returns, advantages: lists[i]! }))
    },
  }
}
