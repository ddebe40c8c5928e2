/**
 * Masked language modelling: some tokens are hidden and predicted from both sides (Devlin et al. 2019,
 * https://arxiv.org/abs/1810.04805).
 *
 *   chosen: each token with probability share;  of these 80 % become [MASK], 10 % any token, 10 % stay
 *   loss = mean over the chosen of −log p(x[t] | what is left)
 *
 * batch.tokens i32 [batch, T]; batch.mask f32 [batch, T], where it is given, has 1 for tokens and 0 for padding.
 * Special tokens are never chosen. For an encoder with its head, or a decoder whose causal mask is left out; then
 * position t predicts its own token, not the next.
 *
 * Differs from the paper: places are drawn independently and anew in each step, so their share is 15 % on average.
 */
import * as z from 'zod'
import { crossEntropy, random, scalar, type Tensor } from '../../array/index.ts'
import { encodeForward, encoderSites } from '../../model/encoderForward.ts'
import type { EncoderParams, EncoderSpec } from '../../model/encoderSpec.ts'
import { rotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Loss, Objective } from '../objective.ts'
import type { TokenBatch } from './nextToken.ts'
import { correct, logitsOf, rowAxes } from './reading.ts'

export const maskedSchema = z.strictObject({
  share: z.number().gt(0).max(1).default(0.15).describe('Share of the tokens that are predicted'),
  maskToken: z.int().nonnegative().describe('The token that stands in their place'),
  masked: z.number().min(0).max(1).default(0.8).describe('Share of these that the mask token replaces'),
  replaced: z.number().min(0).max(1).default(0.1).describe('Share of these that a random token replaces'),
  special: z.array(z.int().nonnegative()).default([]).describe('Tokens that are never chosen'),
})
export type MaskedOptions = z.output<typeof maskedSchema>

/** What predicts tokens from both sides. */
export interface MaskedModel<Params> {
  readonly vocab: number
  /** Logits [batch, T, vocab] of tokens i32 [batch, T]; mask f32 [batch, T] has 0 for padding. */
  logits(params: Params, tokens: Tensor, mask: Tensor | undefined): Tensor
}

export const maskedEncoder = (spec: EncoderSpec): MaskedModel<EncoderParams> => ({
  vocab: spec.vocab,
  logits(params, tokens, mask) {
    if (!params.head) throw new Error('masked: this encoder has no head that predicts tokens')
    const taps = new Taps(encoderSites(spec, params), { read: ['logits'] })
    const zero = tokens.mul(0)
    encodeForward(spec, params, { tokens, mask: mask?.cast('i32') ?? zero.add(1), segments: zero }, taps)
    return taps.finish().logits!
  },
})

export function maskedDecoder(spec: DecoderSpec): MaskedModel<DecoderParams> {
  const reader = { spec, rotary: rotaryTables(spec) }
  return {
    vocab: spec.vocab,
    logits: (params, tokens, mask) => logitsOf(reader, params, tokens, { bidirectional: { mask } }),
  }
}

/** What the model sees, and where it is asked: i32 and f32 [batch, T]. */
export interface Corrupted {
  readonly seen: Tensor
  readonly chosen: Tensor
}

/** Hides tokens. The same key, the same places. */
export function corrupt(
  { tokens, mask }: TokenBatch,
  vocab: number,
  options: MaskedOptions,
  key: Tensor,
): Corrupted {
  const { share, maskToken, masked, replaced, special } = options
  const draw = (purpose: number): Tensor => random.uniform(random.fold(key, purpose), tokens.shape)
  let chosen = draw(1).less(share)
  for (const token of special) chosen = chosen.and(tokens.equal(token).not())
  if (mask) chosen = chosen.and(mask.greater(0))
  const kind = draw(2)
  const other = draw(3)
    .mul(vocab)
    .floor()
    .cast('i32')
    .minimum(vocab - 1)
  const changed = kind
    .less(masked)
    .where(scalar(maskToken, 'i32'), kind.less(masked + replaced).where(other, tokens))
  return { seen: chosen.where(changed, tokens), chosen: chosen.cast('f32') }
}

/** The loss at chosen places. A batch without one has loss 0, not 0 / 0. */
export function predictMasked<Params>(
  model: MaskedModel<Params>,
  params: Params,
  { tokens, mask }: TokenBatch,
  { seen, chosen }: Corrupted,
): Loss {
  const logits = model.logits(params, seen, mask)
  return {
    sum: crossEntropy(logits, tokens).mul(chosen).sum(),
    weight: chosen.sum().maximum(1),
    metrics: { accuracy: correct(logits, tokens).mul(chosen).sum() },
  }
}

export function masked<Params>(
  model: MaskedModel<Params>,
  options: MaskedOptions,
): Objective<Params, TokenBatch> {
  const { maskToken, masked: hidden, replaced } = options
  if (maskToken >= model.vocab)
    throw new RangeError(`masked: the mask token ${maskToken} is outside the vocabulary of ${model.vocab}`)
  if (hidden + replaced > 1 + 1e-9)
    throw new RangeError(`masked: shares of ${hidden} and ${replaced} are more than all`)
  return {
    id: 'masked',
    axes: rowAxes,
    loss: (params, batch, key) =>
      predictMasked(model, params, batch, corrupt(batch, model.vocab, options, key)),
  }
}
