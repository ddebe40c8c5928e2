/** Objectives: from a model and a batch to a scalar. */
import { crossEntropy, type Tensor } from '../array/index.ts'
import { forward } from '../model/decoder.ts'
import type { DecoderParams, DecoderSpec, RotaryTables } from '../model/index.ts'
import { Taps } from '../model/taps.ts'

/** Mean cross entropy in nats of each token given those before it. tokens i32 [batch, T], T at least 2. */
export function nextTokenLoss(
  spec: DecoderSpec,
  params: DecoderParams,
  tokens: Tensor,
  rotary: RotaryTables | undefined,
): Tensor {
  // The last token is only ever a target.
  const { logits } = forward(spec, params, { tokens: tokens.slice(1, 0, -1) }, rotary, new Taps(spec))
  return crossEntropy(logits, tokens.slice(1, 1)).mean()
}
