/**
 * A reward model: a number for each answer, from a linear head on the last token's state, learned from pairs of which
 * people chose one (Bradley and Terry 1952; Ouyang et al. 2022, https://arxiv.org/abs/2203.02155, eq. 1).
 *
 *   loss = mean over pairs of −log σ(r(chosen) − r(rejected))
 *
 * chosen and rejected: prompts with answers, tokens i32 [batch, T] and masks f32 [batch, T], 1 for all tokens but
 * the padding at the end.
 */
import type { Tensor } from '../../array/index.ts'
import { linear } from '../../model/parts/linear.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderSpec } from '../../model/spec.ts'
import type { Engine } from '../../onnx/index.ts'
import type { Objective } from '../objective.ts'
import type { ClassifierParts } from './classification.ts'
import { type PreferenceBatch, preferenceAxes, preferenceLoss } from './preference.ts'
import { logSigmoid, pooled, type Reader, rowAxes } from './reading.ts'
import { type Answered, paddedRows } from './rows.ts'

/** The rewards of rows, [batch]. */
function rewardsOf(
  reader: Reader,
  { decoder, head }: ClassifierParts,
  rows: PreferenceBatch['chosen'],
): Tensor {
  const states = pooled(reader, decoder, rows, { pooling: 'last', sees: 'past' })
  return linear(states, head, 'out-in').reshape([rows.tokens.shape[0]!])
}

export function rewardModel(spec: DecoderSpec): Objective<ClassifierParts, PreferenceBatch> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    id: 'reward-model',
    axes: preferenceAxes,
    loss(parts, { chosen, rejected }) {
      const [good, bad] = [rewardsOf(reader, parts, chosen), rewardsOf(reader, parts, rejected)]
      return preferenceLoss(logSigmoid(good.sub(bad)).neg(), good, bad)
    },
  }
}

/** The rewards that a model gives to answers, as a function for `policyRun`. */
export function rewardByModel(engine: Engine, spec: DecoderSpec, parts: ClassifierParts) {
  const reader = { spec, rotary: rotaryTables(spec) }
  const program = engine.jit(
    (own: ClassifierParts, rows: PreferenceBatch['chosen']) => rewardsOf(reader, own, rows),
    { name: 'rewards', axes: [undefined, rowAxes] },
  )
  return async (rows: readonly Answered[]): Promise<number[]> => {
    const rewards = await program(parts, paddedRows(rows.map(({ prompt, answer }) => [...prompt, ...answer])))
    return [...((await rewards.load()) as Float32Array)]
  }
}
