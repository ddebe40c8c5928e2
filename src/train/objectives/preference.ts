/**
 * What the objectives of preferences share: pairs of a chosen and a rejected answer to one prompt, and how likely a
 * model finds each.
 */
import type { Tensor } from '../../array/index.ts'
import type { DecoderParams } from '../../model/spec.ts'
import type { Loss } from '../objective.ts'
import { counted, type Reader, rowAxes, tokenLogProbabilities } from './reading.ts'

/** A prompt with an answer, i32 [batch, T], padded at the end; mask f32 [batch, T] has 1 for the answer's tokens. */
export interface Answer {
  readonly tokens: Tensor
  readonly mask: Tensor
}
/** Row i of both begins with the same prompt. */
export interface PreferenceBatch {
  readonly chosen: Answer
  readonly rejected: Answer
}

/** Chosen and rejected are padded to one length. */
export const preferenceAxes = { chosen: rowAxes, rejected: rowAxes }

/** A policy that is trained, and the model it began as, which is frozen. */
export interface PolicyAndReference {
  readonly policy: DecoderParams
  readonly reference: DecoderParams
}

export interface AnswerLikelihood {
  /** log p(answer | prompt), in nats: [batch]. */
  readonly sum: Tensor
  /** The same per token of the answer. */
  readonly mean: Tensor
}

export function likelihood(
  reader: Reader,
  params: DecoderParams,
  { tokens, mask }: Answer,
): AnswerLikelihood {
  // The first token has no probability, whatever the mask says.
  const counts = mask.slice(1, 1)
  const sum = tokenLogProbabilities(reader, params, tokens).slice(1, 1).mul(counts).sum(1)
  return { sum, mean: sum.div(counts.sum(1)) }
}

/** A loss per pair, with how often and by how much the chosen answer is rewarded more. All [batch]. */
export function preferenceLoss(losses: Tensor, chosen: Tensor, rejected: Tensor): Loss {
  return {
    ...counted(losses, undefined),
    metrics: {
      rewardAccuracy: chosen.greater(rejected).cast('f32').sum(),
      rewardMargin: chosen.sub(rejected).sum(),
      chosenReward: chosen.sum(),
      rejectedReward: rejected.sum(),
    },
  }
}
