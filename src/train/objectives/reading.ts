/**
 * What objectives read of a decoder's forward pass. Tokens are i32 [batch, T], padded at the end; masks are f32
 * [batch, T] with 1 for what counts and 0 for the rest.
 */
import { concat, crossEntropy, iota, logSoftmax, size, sizeOf, type Tensor } from '../../array/index.ts'
import { type ForwardInput, forward } from '../../model/decoder.ts'
import type { RotaryTables } from '../../model/parts/position.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Loss } from '../objective.ts'

/** Axes of tokens and masks. One list for all of them: a branch that a batch may lack is known by it. */
export const rowAxes = ['batch', 'time']

/** A decoder's computation without its parameters. */
export interface Reader {
  readonly spec: DecoderSpec
  readonly rotary: RotaryTables | undefined
}

const finalSite = 'ln_final.hook_normalized'

/** Logits [batch, T, vocab]. */
export const logitsOf = (
  { spec, rotary }: Reader,
  params: DecoderParams,
  tokens: Tensor,
  input: Omit<ForwardInput, 'tokens'> = {},
): Tensor => forward(spec, params, { tokens, ...input }, rotary, new Taps(spec)).logits

/** Final states, after the last norm: [batch, T, width], or [batch, 1, width] at one position of each row. */
export function statesOf(
  { spec, rotary }: Reader,
  params: DecoderParams,
  tokens: Tensor,
  input: Omit<ForwardInput, 'tokens'> = {},
): Tensor {
  const taps = new Taps(spec, { read: [finalSite] })
  forward(spec, params, { tokens, ...input }, rotary, taps)
  return taps.finish()[finalSite]!
}

/** One state a row, [batch, width]: that of the last token, or the mean over the tokens. */
export type Pooling = 'last' | 'mean'

/** Whether tokens see those after them: a causal mask, or none. */
export type Visibility = 'past' | 'all'

/** What `sees` is as an input of the forward pass. */
export const seeing = (sees: Visibility, mask: Tensor | undefined): Pick<ForwardInput, 'bidirectional'> =>
  sees === 'all' ? { bidirectional: { mask } } : {}

/** Rows as vectors: [batch, width]. Without a mask all tokens count. */
export function pooled(
  reader: Reader,
  params: DecoderParams,
  { tokens, mask }: { readonly tokens: Tensor; readonly mask?: Tensor | undefined },
  { pooling, sees }: { readonly pooling: Pooling; readonly sees: Visibility },
): Tensor {
  const [batch, time] = tokens.shape as [never, never]
  const { width } = reader.spec
  const input = seeing(sees, mask)
  if (pooling === 'last') {
    const last = mask ? mask.sum(1).sub(1).cast('i32') : size(time, 'i32').sub(1).broadcastTo([batch])
    return statesOf(reader, params, tokens, { ...input, at: last }).reshape([batch, width])
  }
  const states = statesOf(reader, params, tokens, input)
  if (!mask) return states.mean(1)
  return states
    .mul(mask.expandDims(-1))
    .sum(1)
    .div(mask.sum(1, { keep: true }))
}

/** log p of each token given those before it, in nats: [batch, T]. The first has none: 0. */
export function tokenLogProbabilities(reader: Reader, params: DecoderParams, tokens: Tensor): Tensor {
  const logits = logitsOf(reader, params, tokens.slice(1, 0, -1))
  return crossEntropy(logits, tokens.slice(1, 1)).neg().pad(1, 1, 0)
}

/** The sum of what counts. Without a mask everything does. */
export function counted(losses: Tensor, mask: Tensor | undefined): Pick<Loss, 'sum' | 'weight'> {
  return mask
    ? { sum: losses.mul(mask).sum(), weight: mask.sum() }
    : { sum: losses.sum(), weight: size(sizeOf(losses.shape), 'f32') }
}

/** log sigmoid(x) = −log(1 + exp(−x)), for any size of x. */
export function logSigmoid(x: Tensor): Tensor {
  const both = concat([x.expandDims(-1), x.mul(0).expandDims(-1)], -1)
  return logSoftmax(both).slice(-1, 0, 1).reshape(x.shape)
}

/** 1 where the largest logit is that of the label, else 0. logits [..., classes], labels [...] i32. */
export const correct = (logits: Tensor, labels: Tensor): Tensor =>
  logits.argMax(-1).cast('i32').equal(labels).cast('f32')

/** 0, 1, 2 ... for the rows of a batch. */
export const rowNumbers = (x: Tensor): Tensor => iota(x.shape[0]!)
