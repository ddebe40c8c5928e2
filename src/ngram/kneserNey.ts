/**
 * Interpolated Kneser-Ney smoothing, modified or with one discount (Kneser and Ney 1995; Chen and Goodman 1999, section 3,
 * https://doi.org/10.1006/csla.1999.0128): the n-gram model that others are measured by.
 *
 *   p(w | h) = (max(a(h w) - D(a(h w)), 0) + γ(h) p(w | h')) / Σ a(h ·),   γ(h) = Σ D(a(h w)) over the w behind h
 *
 * h' is h without its first token. a: counts for the longest n-grams, numbers of different tokens in front for the others
 * (counts.ts). Below the single tokens lies 1 / vocabulary, so that every token has a probability. Modified: D is
 * Y = n1 / (n1 + 2 n2), D(i) = i - (i + 1) Y n(i+1) / n(i) for i of 1, 2, 3 and more, per order; n(i): how many n-grams
 * have a of i. Where these do not exist (a tiny corpus, single tokens), 0.5, 1 and 1.5, as in KenLM; with one
 * discount 0.75.
 *
 * @example
 * const model = trainKneserNey([[0, 1, 0, 2], [0, 1]], { order: 2, vocabulary: 3, discount: 0.5 })
 * model.distribution([0])  // of 0, 1 and 2 behind a row that so far is 0
 */
import * as z from 'zod'
import { method } from '../method/index.ts'
import { countNgrams, findNgram, type Level } from './counts.ts'
import { checkToken, type TokenModel, type TokenRow } from './languageModel.ts'

export const kneserNeySchema = z.strictObject({
  order: z.int().min(1).max(16).default(5).describe('Longest n-gram: the token and those before it'),
  vocabulary: z.int().positive().describe('How many tokens there are; ids are below'),
  discount: z
    .union([z.enum(['modified', 'single']), z.number().min(0).max(1)])
    .default('modified')
    .describe('Three discounts an order, one, or this number everywhere'),
})
export type KneserNeyOptions = z.input<typeof kneserNeySchema>

/** Of counts of 1, 2, and 3 or more. */
export type Discounts = readonly [number, number, number]

export class KneserNey implements TokenModel {
  readonly vocabulary: number
  /** Of orders 1, 2, ... */
  readonly levels: readonly Level[]
  readonly discounts: readonly Discounts[]
  /** Per order and context: Σ a(h ·). */
  readonly #totals: Float64Array[] = []
  /** Per order and context: γ(h). */
  readonly #shares: Float64Array[] = []

  constructor(vocabulary: number, levels: readonly Level[], discounts: readonly Discounts[]) {
    this.vocabulary = vocabulary
    this.levels = levels
    this.discounts = discounts
    for (const [at, { starts, counts }] of levels.entries()) {
      const totals = new Float64Array(starts.length - 1)
      const shares = new Float64Array(starts.length - 1)
      for (let context = 0; context < totals.length; context++)
        for (let place = starts[context]!; place < starts[context + 1]!; place++) {
          totals[context]! += counts[place]!
          shares[context]! += this.#discount(at, counts[place]!)
        }
      this.#totals.push(totals)
      this.#shares.push(shares)
    }
  }

  get order(): number {
    return this.levels.length
  }

  /** How many n-grams there are, of all orders. */
  get size(): number {
    return this.levels.reduce((sum, { tokens }) => sum + tokens.length, 0)
  }

  logProbabilities(row: TokenRow): Float64Array {
    const result = new Float64Array(row.length)
    const contexts = this.#beginning()
    for (let i = 0; i < row.length; i++) result[i] = Math.log(this.#advance(contexts, row[i]!))
    return result
  }

  distribution(row: TokenRow): Float64Array {
    const contexts = this.#beginning()
    // Tokens further back than the longest context change nothing.
    const from = Math.max(0, row.length - this.order)
    if (from > 0) contexts.fill(-1, 1)
    for (let i = from; i < row.length; i++) this.#advance(contexts, row[i]!)
    const result = new Float64Array(this.vocabulary).fill(1 / this.vocabulary)
    for (const [at, { starts, tokens, counts }] of this.levels.entries()) {
      const context = contexts[at]!
      if (context < 0 || this.#totals[at]![context] === 0) break
      const total = this.#totals[at]![context]!
      const share = this.#shares[at]![context]! / total
      for (let token = 0; token < result.length; token++) result[token]! *= share
      for (let place = starts[context]!; place < starts[context + 1]!; place++) {
        const [token, count] = [tokens[place]!, counts[place]!]
        if (token < this.vocabulary) result[token]! += (count - this.#discount(at, count)) / total
      }
    }
    return result
  }

  /** Contexts by length at the beginning of a row; -1 is one that was never seen. */
  #beginning(): Int32Array {
    const contexts = new Int32Array(this.order).fill(-1)
    contexts[0] = 0
    if (this.order > 1) contexts[1] = findNgram(this.levels[0]!, 0, this.vocabulary)
    return contexts
  }

  /** p(token) behind the contexts, which then are those behind the token. */
  #advance(contexts: Int32Array, token: number): number {
    checkToken(token, this.vocabulary)
    let probability = 1 / this.vocabulary
    let shorter = 0
    for (let at = 0; at < this.order; at++) {
      const context = contexts[at]!
      contexts[at] = shorter
      if (context < 0) {
        contexts.fill(-1, at + 1)
        break
      }
      const level = this.levels[at]!
      const place = findNgram(level, context, token)
      const total = this.#totals[at]![context]!
      if (total > 0) {
        const count = place < 0 ? 0 : level.counts[place]!
        probability = (count - this.#discount(at, count) + this.#shares[at]![context]! * probability) / total
      }
      shorter = place
    }
    return probability
  }

  #discount(at: number, count: number): number {
    return count === 0 ? 0 : Math.min(count, this.discounts[at]![Math.min(count, 3) - 1]!)
  }
}

/** Counts the rows; each is a document that begins anew. */
export function trainKneserNey(rows: Iterable<TokenRow>, options: KneserNeyOptions): KneserNey {
  const { order, vocabulary, discount } = kneserNeySchema.parse(options)
  const levels = countNgrams(rows, order, vocabulary)
  if (levels[0]!.tokens.length < 2) throw new Error('Kneser-Ney: there are no tokens to count')
  return new KneserNey(
    vocabulary,
    levels,
    levels.map(({ counts }) => discountsOf(counts, discount)),
  )
}

function discountsOf(counts: Int32Array, discount: 'modified' | 'single' | number): Discounts {
  if (typeof discount === 'number') return [discount, discount, discount]
  const n = [0, 0, 0, 0, 0]
  for (const count of counts) if (count < n.length) n[count]!++
  const y = n[1]! / (n[1]! + 2 * n[2]!)
  if (discount === 'single') return n[1]! > 0 && n[2]! > 0 ? [y, y, y] : [0.75, 0.75, 0.75]
  const found = [1, 2, 3].map((i) => i - ((i + 1) * y * n[i + 1]!) / n[i]!)
  const exist = found.every((value, i) => value >= 0 && value <= i + 1)
  return exist ? (found as [number, number, number]) : [0.5, 1, 1.5]
}

export default method({
  id: 'kneser-ney',
  title: 'Kneser-Ney n-grams',
  socket: 'language-model',
  source: 'Chen and Goodman 1999, https://doi.org/10.1006/csla.1999.0128',
  summary: 'Counts of n-grams, smoothed by those of shorter ones: the baseline of language models.',
  options: kneserNeySchema,
  make: (options) => (rows: Iterable<TokenRow>) => trainKneserNey(rows, options),
})
