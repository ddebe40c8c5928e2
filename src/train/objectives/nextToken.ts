/**
 * Next-token prediction: −log p(x[t+1] | x[..t]) in nats, averaged over the targets that count.
 *
 * batch.tokens i32 [batch, T]: every token but the first is a target. batch.mask f32 [batch, T], where it is given,
 * has 1 for the tokens to learn (completions, answers of an assistant) and 0 for the others (prompts, padding).
 */
import * as z from 'zod'
import { crossEntropy, type Tensor } from '../../array/index.ts'
import { forward } from '../../model/decoder.ts'
import { joinEdits } from '../../model/edits.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { type TapOptions, Taps } from '../../model/taps.ts'
import { dropout as dropped } from '../dropout.ts'
import type { Objective } from '../objective.ts'
import { counted } from './reading.ts'

export interface TokenBatch {
  readonly tokens: Tensor
  readonly mask?: Tensor | undefined
}

export const nextTokenSchema = z.strictObject({
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('Share of the channels that is dropped where the residual is written, another in each row'),
})

/** `edit`: of activations, by site, where a model is trained with them; `dropout` acts after them. */
export function nextToken(
  spec: DecoderSpec,
  { edit, dropout = 0 }: Pick<TapOptions, 'edit'> & z.input<typeof nextTokenSchema> = {},
): Objective<DecoderParams, TokenBatch> {
  const rotary = rotaryTables(spec)
  return {
    id: 'next-token',
    axes: ['batch', 'time'],
    loss(params, { tokens, mask }, key) {
      // The last token is only ever a target.
      const input = { tokens: tokens.slice(1, 0, -1) }
      const all = joinEdits(edit, dropped(spec, dropout, key))
      const { logits } = forward(spec, params, input, rotary, new Taps(spec, { edit: all }))
      const losses = crossEntropy(logits, tokens.slice(1, 1)) // [batch, T - 1]
      return counted(losses, mask?.slice(1, 1))
    },
  }
}
