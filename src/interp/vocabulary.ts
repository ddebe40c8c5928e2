/** Vectors of the residual stream as scores of tokens. */
import type { Tensor } from '../array/index.ts'
import { unembed } from '../model/decoder.ts'
import type { DecoderParams, DecoderSpec } from '../model/index.ts'
import type { Linear } from '../model/spec.ts'

/**
 * A direction [..., width] as what it adds to the logits, [..., vocab], up to the scale that the last norm has at the
 * state which it is added to. It is the linear part of norm and head: no bias, no division by the length. So the scores
 * of a sum are the sum of the scores, those of -x are the negative ones, and a short vector is read as well as a long one.
 */
export function readDirection(spec: DecoderSpec, params: DecoderParams, x: Tensor): Tensor {
  let scaled = x
  if (params.lnFinal) {
    const { weight } = params.lnFinal
    if (spec.norm.kind === 'layer') scaled = scaled.sub(scaled.mean(-1, { keep: true }))
    if (weight) scaled = scaled.mul(spec.norm.offset ? weight.add(spec.norm.offset) : weight)
  }
  return unembed({ ...params, head: bare(params.head), projectOut: bare(params.projectOut) }, scaled)
}

const bare = (part: Linear | undefined): Linear | undefined => part && { ...part, bias: undefined }

/** How many tokens of the vocabulary score higher than `token`, i32 [...]. scores [..., vocab], token i32 []. */
export const rankOf = (scores: Tensor, token: Tensor): Tensor =>
  scores
    .greater(scores.gather(token.reshape([1]), -1))
    .cast('i32')
    .sum(-1)
