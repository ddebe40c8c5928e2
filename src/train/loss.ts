/** Objectives: from a model and a batch to a scalar. */
import { crossEntropy, type Tensor } from '../array/index.ts'
import { forward } from '../model/decoder.ts'
import { type EncoderInput, encodeForward, encoderSites } from '../model/encoderForward.ts'
import type { EncoderParams, EncoderSpec } from '../model/encoderSpec.ts'
import type { DecoderParams, DecoderSpec, RotaryTables } from '../model/index.ts'
import { type Seq2SeqInput, seq2seqForward, seq2seqSites } from '../model/seq2seqForward.ts'
import type { Seq2SeqParams, Seq2SeqSpec } from '../model/seq2seqSpec.ts'
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

/**
 * Mean cross entropy in nats of the tokens that an encoder's head is asked for (masked language modelling, Devlin et
 * al. 2019). labels i32 [batch, T]: negative where nothing is asked. At least one must be asked for.
 */
export function maskedTokenLoss(
  spec: EncoderSpec,
  params: EncoderParams,
  input: EncoderInput,
  labels: Tensor,
): Tensor {
  const taps = new Taps(encoderSites(spec, params), { read: ['logits'] })
  encodeForward(spec, params, input, taps)
  const asked = labels.greaterEqual(0).cast('f32')
  const losses = crossEntropy(taps.finish().logits!, labels.maximum(0))
  return losses.mul(asked).sum().div(asked.sum())
}

/**
 * Mean cross entropy in nats of each target token given the source and the tokens before it (teacher forcing).
 * targets i32 [batch, T], T at least 2, beginning with the start token.
 */
export function targetLoss(spec: Seq2SeqSpec, params: Seq2SeqParams, input: Seq2SeqInput): Tensor {
  const targets = input.targets.slice(1, 0, -1)
  const logits = seq2seqForward(spec, params, { ...input, targets }, new Taps(seq2seqSites(spec)))
  return crossEntropy(logits, input.targets.slice(1, 1)).mean()
}
