/**
 * Mask-enhanced autoregressive prediction: some input tokens are hidden, all targets stay (Zhuang et al. 2025,
 * https://arxiv.org/abs/2502.07490).
 *
 *   x'[t] = [MASK] with probability share, else x[t];   loss = mean over t of −log p(x[t+1] | x'[..t])
 *
 * The targets are the original tokens, also those whose place in the input is hidden. What attends to fewer tokens
 * learns to attend to those that matter. Batches as in next-token prediction. share 0 is next-token prediction.
 *
 * Differs from the authors' code, which hides exactly ⌊share T⌋ places, the same in all rows of a batch, and has 51
 * such patterns in turn: here every place of every row is drawn independently, so the share holds on average.
 */
import * as z from 'zod'
import { crossEntropy, random, scalar } from '../../array/index.ts'
import { method } from '../../method/index.ts'
import { forward } from '../../model/decoder.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Objective } from '../objective.ts'
import type { TokenBatch } from './nextToken.ts'
import { counted } from './reading.ts'

export const meapSchema = z.strictObject({
  share: z.number().min(0).max(1).default(0.15).describe('Share of the input tokens that are hidden'),
  maskToken: z.int().nonnegative().describe('The token that stands in their place'),
})

export function meap(
  spec: DecoderSpec,
  { share, maskToken }: z.output<typeof meapSchema>,
): Objective<DecoderParams, TokenBatch> {
  if (maskToken >= spec.vocab)
    throw new RangeError(`meap: the mask token ${maskToken} is outside the vocabulary of ${spec.vocab}`)
  const rotary = rotaryTables(spec)
  return {
    id: 'meap',
    axes: ['batch', 'time'],
    loss(params, { tokens, mask }, key) {
      const inputs = tokens.slice(1, 0, -1) // [batch, T - 1]
      const hidden = random.uniform(key, inputs.shape).less(share)
      const seen = hidden.where(scalar(maskToken, 'i32'), inputs)
      const { logits } = forward(spec, params, { tokens: seen }, rotary, new Taps(spec))
      const losses = crossEntropy(logits, tokens.slice(1, 1))
      return counted(losses, mask?.slice(1, 1))
    },
  }
}

export default method({
  id: 'meap',
  title: 'Mask-enhanced autoregressive prediction',
  socket: 'objective',
  paper: 179,
  source: 'Zhuang et al. 2025, https://arxiv.org/abs/2502.07490',
  summary: 'Next-token prediction with some of the input tokens hidden behind a mask token.',
  options: meapSchema,
  make: (options) => (spec: DecoderSpec) => meap(spec, options),
})
