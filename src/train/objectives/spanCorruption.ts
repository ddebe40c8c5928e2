/**
 * Span corruption: spans of a text are replaced by sentinels, and the target says what stood there (Raffel et al.
 * 2020, https://arxiv.org/abs/1910.10683; spans are drawn as in the authors' `random_spans_noise_mask`).
 *
 *   text     Thank you for inviting me to your party last week
 *   input    Thank you <0> me to your party <1> week <end>
 *   target   <0> for inviting <1> last <end>
 *
 * A text of n tokens has max(1, round(n · share)) hidden ones in max(1, round(hidden / meanSpan)) spans; it begins
 * with a span that stays and ends with a hidden one. All texts of one length give inputs of one length. Batches are
 * made here, from windows by number: the same number, the same spans. For an encoder-decoder (`spanCorruption`), or
 * for a decoder that reads the input and learns the target behind it (`decoderSpans`, with next-token prediction).
 */
import * as z from 'zod'
import { concat, crossEntropy, random, type Tensor, tensor } from '../../array/index.ts'
import { seq2seqForward, seq2seqSites } from '../../model/seq2seqForward.ts'
import type { Seq2SeqParams, Seq2SeqSpec } from '../../model/seq2seqSpec.ts'
import { Taps } from '../../model/taps.ts'
import type { Objective } from '../objective.ts'
import type { Batches } from '../trainer.ts'
import type { TokenBatch } from './nextToken.ts'
import { correct, counted } from './reading.ts'
import { rowsOf } from './rows.ts'

export const spanSchema = z.strictObject({
  share: z.number().gt(0).lt(1).default(0.15).describe('Share of the tokens that are hidden'),
  meanSpan: z.number().min(1).default(3).describe('Tokens of a span, on average'),
  sentinels: z.array(z.int().nonnegative()).nonempty().describe('Tokens that stand for spans, in order'),
  end: z.int().nonnegative().describe('The token that ends inputs and targets'),
  seed: z.int().nonnegative().default(1),
})
export type SpanOptions = z.output<typeof spanSchema>

/** A text with its spans apart. Throws where there are too few sentinels. */
export function corruptSpans(
  tokens: ArrayLike<number>,
  { share, meanSpan, sentinels, end }: SpanOptions,
  uniform: () => number,
): { readonly input: number[]; readonly target: number[] } {
  const { length } = tokens
  if (length < 2) throw new RangeError(`span corruption: a text of ${length} tokens has nothing to hide`)
  const hidden = Math.min(Math.max(Math.round(length * share), 1), length - 1)
  const spans = Math.max(1, Math.min(Math.round(hidden / meanSpan), length - hidden))
  if (spans > sentinels.length)
    throw new RangeError(
      `span corruption: ${length} tokens have ${spans} spans, but there are ${sentinels.length} sentinels`,
    )
  const [kept, gone] = [segments(length - hidden, spans, uniform), segments(hidden, spans, uniform)]
  const [input, target]: number[][] = [[], []]
  let at = 0
  const take = (count: number): number[] => Array.from({ length: count }, () => tokens[at++]!)
  for (let i = 0; i < spans; i++) {
    input!.push(...take(kept[i]!), sentinels[i]!)
    target!.push(sentinels[i]!, ...take(gone[i]!))
  }
  return { input: [...input!, end], target: [...target!, end] }
}

/** `total` in `count` parts of at least 1, every way equally likely. */
function segments(total: number, count: number, uniform: () => number): number[] {
  // Which of the total - 1 borders between neighbours are cuts: the first count - 1 of a shuffle.
  const borders = Array.from({ length: total - 1 }, (_, i) => i + 1)
  for (let i = 0; i < count - 1; i++) {
    const j = i + Math.floor(uniform() * (borders.length - i))
    ;[borders[i], borders[j]] = [borders[j]!, borders[i]!]
  }
  const cuts = [0, ...borders.slice(0, count - 1).sort((a, b) => a - b), total]
  return Array.from({ length: count }, (_, i) => cuts[i + 1]! - cuts[i]!)
}

export interface SpanBatch {
  /** i32 [batch, S] */
  readonly tokens: Tensor
  /** i32 [batch, T], without the token that a target starts with. */
  readonly targets: Tensor
}

function* corruptRows({ tokens }: TokenBatch, index: number, options: SpanOptions) {
  for (const [i, row] of rowsOf(tokens).entries())
    yield corruptSpans(row, options, random.generator(random.fold(random.fold(options.seed, index), i)))
}

/** Windows of tokens as inputs and targets of an encoder-decoder. */
export const spanBatches = (windows: Batches<TokenBatch>, options: SpanOptions): Batches<SpanBatch> => ({
  async at(index) {
    const rows = [...corruptRows(await windows.at(index), index, options)]
    return { tokens: stack(rows.map(({ input }) => input)), targets: stack(rows.map(({ target }) => target)) }
  },
})

/** Windows as rows of input and target, of which the target is learned. */
export const decoderSpans = (
  windows: Batches<TokenBatch>,
  options: SpanOptions,
): Batches<Required<TokenBatch>> => ({
  async at(index) {
    const rows = [...corruptRows(await windows.at(index), index, options)]
    const mask = rows.map(({ input, target }) => [...input.map(() => 0), ...target.map(() => 1)])
    return {
      tokens: stack(rows.map(({ input, target }) => [...input, ...target])),
      mask: tensor(Float32Array.from(mask.flat()), [rows.length, mask[0]!.length]),
    }
  },
})

const stack = (rows: readonly (readonly number[])[]): Tensor =>
  tensor(Int32Array.from(rows.flat()), [rows.length, rows[0]!.length])

/** −log p(target | input), in nats a token of the target. */
export function spanCorruption(spec: Seq2SeqSpec): Objective<Seq2SeqParams, SpanBatch> {
  return {
    id: 'span-corruption',
    axes: { tokens: ['batch', 'source'], targets: ['batch', 'time'] },
    loss(params, { tokens, targets }) {
      const start = targets.slice(1, 0, 1).mul(0).add(spec.start)
      const shifted = concat([start, targets.slice(1, 0, -1)], 1)
      const taps = new Taps(seq2seqSites(spec))
      const input = { tokens, mask: tokens.mul(0).add(1), targets: shifted }
      const logits = seq2seqForward(spec, params, input, taps)
      return {
        ...counted(crossEntropy(logits, targets), undefined),
        metrics: { accuracy: correct(logits, targets).sum() },
      }
    },
  }
}
