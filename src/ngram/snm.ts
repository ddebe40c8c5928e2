/**
 * Sparse non-negative matrix language model (Shazeer, Pelemans and Chelba 2015, https://arxiv.org/abs/1412.1454; TACL 2016).
 *
 *   p(w | h) = Σ_f M[f, w] / Σ_f Σ_v M[f, v] over the features f of h,    M[f, w] = exp(A(f, w)) C(f, w) / C(f)
 *
 * C counts; A is a sum of hashed weights (adjustment.ts). Training leaves the event out that it looks at. With the
 * Poisson loss Σ_v (y[v] - [v = w] log y[v]), y = Σ_f M[f, ·], the entry of an event (f, w) gets
 *
 *   ∂/∂A = (C(f) - C(f, w)) / C(f, w) M⁻ + (1 - 1 / y⁺[w]) M⁺
 *   M⁻ = exp(A) C(f, w) / (C(f) - 1),   M⁺ = exp(A) (C(f, w) - 1) / (C(f) - 1)
 *
 * where the first term stands for all events of f with other targets, so that no event touches entries of other tokens.
 * The counts that A is given are those that are left, too.
 *
 * Differs from the paper: the share `floor` is uniform, so that tokens that were never seen have a probability; which
 * meta-features are paired is our choice (adjustment.ts). A feature that is there twice (tied skip-grams) is there once.
 * Written without the paper's text or code at hand: a test confirms the gradient by counting anew, not by theirs.
 */
import * as z from 'zod'
import { fold } from '../array/random.ts'
import { method } from '../method/index.ts'
import { Adjustment } from './adjustment.ts'
import { Features, type SkipGram, skipGramSchema } from './features.ts'
import { checkToken, type TokenModel, type TokenRow } from './languageModel.ts'
import { PairTable } from './table.ts'

export const snmSchema = z.strictObject({
  order: z.int().min(1).max(16).default(5).describe('Longest n-gram: the token and those before it'),
  skipGrams: z.array(skipGramSchema).max(200).default([]).describe('Contexts with gaps'),
  vocabulary: z.int().positive().describe('How many tokens there are; ids are below'),
  events: z.int().nonnegative().default(500_000).describe('Tokens that the adjustment is trained on'),
  rate: z.number().positive().default(0.2).describe('Of AdaGrad'),
  bits: z.int().min(8).max(28).default(20).describe('Weights of the adjustment, as a power of two'),
  floor: z.number().min(0).max(1).default(1e-6).describe('Share that is uniform'),
  seed: z.int().nonnegative().default(0).describe('Which tokens these are, and in which order'),
})
export type SnmOptions = z.input<typeof snmSchema>

/** One remote token over one to three, two over one or two, and one further away, wherever it is. */
export const defaultSkipGrams: readonly SkipGram[] = [
  ...[0, 1, 2].flatMap((adjacent) => [1, 2, 3].map((skip) => ({ remote: 1, skip, adjacent }))),
  ...[1, 2].map((skip) => ({ remote: 2, skip, adjacent: 1 })),
  { remote: 1, skip: 4, upTo: 9, adjacent: 1 },
]

/** What was counted: features, pairs of a feature and a target. */
export interface Counts {
  readonly features: Features
  readonly pairs: PairTable
  readonly together: Int32Array
  readonly seen: Int32Array
  /** Of features. */
  readonly kinds: Uint8Array
}

export class SparseMatrixModel implements TokenModel {
  readonly vocabulary: number
  readonly features: Features
  readonly pairs: PairTable
  /** M of pairs. */
  readonly entries: Float32Array
  /** Σ_v M[f, v]. */
  readonly #sums: Float64Array
  readonly floor: number
  /** Pairs by feature, for distributions; sorted when first asked for. */
  #rows: { starts: Int32Array; pairs: Int32Array } | undefined

  constructor(
    vocabulary: number,
    floor: number,
    features: Features,
    pairs: PairTable,
    entries: Float32Array,
  ) {
    this.vocabulary = vocabulary
    this.floor = floor
    this.features = features
    this.pairs = pairs
    this.entries = entries
    this.#sums = new Float64Array(features.size)
    const owners = pairs.contexts
    for (let pair = 0; pair < entries.length; pair++) this.#sums[owners[pair]!]! += entries[pair]!
  }

  /** Entries of the matrix that are not zero. */
  get size(): number {
    return this.entries.length
  }

  logProbabilities(row: TokenRow): Float64Array {
    const result = new Float64Array(row.length)
    const { active } = this.features
    for (let i = 0; i < row.length; i++) {
      const token = row[i]!
      checkToken(token, this.vocabulary)
      const count = this.features.read(row, i, false)
      let [entry, sum] = [0, 0]
      for (let j = 0; j < count; j++) {
        const pair = this.pairs.find(active[j]!, token)
        if (pair >= 0) entry += this.entries[pair]!
        sum += this.#sums[active[j]!]!
      }
      result[i] = Math.log(((1 - this.floor) * entry) / sum + this.floor / this.vocabulary)
    }
    return result
  }

  distribution(row: TokenRow): Float64Array {
    for (let i = 0; i < row.length; i++) checkToken(row[i]!, this.vocabulary)
    this.#rows ??= this.#sorted()
    const { starts, pairs } = this.#rows
    const { active } = this.features
    const count = this.features.read(row, row.length, false)
    const result = new Float64Array(this.vocabulary)
    const tokens = this.pairs.tokens
    let sum = 0
    for (let j = 0; j < count; j++) {
      const feature = active[j]!
      for (let at = starts[feature]!; at < starts[feature + 1]!; at++)
        result[tokens[pairs[at]!]!]! += this.entries[pairs[at]!]!
      sum += this.#sums[feature]!
    }
    return result.map((entry) => ((1 - this.floor) * entry) / sum + this.floor / this.vocabulary)
  }

  #sorted(): { starts: Int32Array; pairs: Int32Array } {
    const owners = this.pairs.contexts
    const starts = new Int32Array(this.features.size + 1)
    for (const owner of owners) starts[owner + 1]!++
    for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!
    const next = starts.slice()
    const pairs = new Int32Array(owners.length)
    for (let pair = 0; pair < owners.length; pair++) pairs[next[owners[pair]!]!++] = pair
    return { starts, pairs }
  }
}

/** Counts the rows, then learns the adjustment; each row is a document that begins anew. */
export function trainSnm(rows: readonly TokenRow[], options: SnmOptions): SparseMatrixModel {
  const { order, skipGrams, vocabulary, events, rate, bits, floor, seed } = snmSchema.parse(options)
  const features = new Features(order, skipGrams, vocabulary)
  const counts = countFeatures(rows, features, vocabulary)
  const adjustment = new Adjustment(bits, rate)
  const total = rows.reduce((sum, row) => sum + row.length, 0)
  if (total === 0) throw new Error('SNM: there are no tokens to count')
  const of: AdjustmentOf = (kind, feature, target, seen, together) =>
    adjustment.of(kind, feature, target, seen, together)
  const change = (gradient: number) => adjustment.change(gradient)
  const starts: number[] = []
  for (let i = 0, at = 0; i < rows.length; at += rows[i++]!.length) starts.push(at)
  for (let event = 0; event < events; event++) {
    const at = fold(seed, event) % total
    const row = rowAt(starts, at)
    learnEvent(counts, of, change, rows[row]!, at - starts[row]!)
  }
  const { pairs, together, seen, kinds } = counts
  const [owners, tokens] = [pairs.contexts, pairs.tokens]
  const entries = new Float32Array(pairs.size)
  for (let pair = 0; pair < entries.length; pair++) {
    const owner = owners[pair]!
    const a = adjustment.of(kinds[owner]!, owner, tokens[pair]!, seen[owner]!, together[pair]!)
    entries[pair] = (Math.exp(a) * together[pair]!) / seen[owner]!
  }
  return new SparseMatrixModel(vocabulary, floor, features, pairs, entries)
}

export function countFeatures(rows: readonly TokenRow[], features: Features, vocabulary: number): Counts {
  const pairs = new PairTable()
  let together = new Int32Array(1024)
  let seen = new Int32Array(1024)
  let kinds = new Uint8Array(1024)
  const { active, activeKinds } = features
  for (const row of rows)
    for (let i = 0; i < row.length; i++) {
      const token = row[i]!
      checkToken(token, vocabulary)
      const count = features.read(row, i, true)
      if (features.size > seen.length) {
        seen = larger(seen, features.size)
        kinds = larger(kinds, features.size)
      }
      for (let j = 0; j < count; j++) {
        const feature = active[j]!
        const pair = pairs.add(feature, token)
        if (pair >= together.length) together = larger(together, pair + 1)
        together[pair]!++
        seen[feature]!++
        kinds[feature] = activeKinds[j]!
      }
    }
  return { features, pairs, together, seen, kinds }
}

function larger<A extends Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(old: A, least: number): A {
  const array = new (old.constructor as new (length: number) => A)(Math.max(least, old.length * 2))
  array.set(old)
  return array
}

/** A of an entry: by kind and number of the feature, target, and counts of the feature and of both together. */
export type AdjustmentOf = (
  kind: number,
  feature: number,
  target: number,
  seen: number,
  together: number,
) => number

/** One event: what the others would have predicted, and the gradient of each A, told after it was asked for. */
export function learnEvent(
  { features, pairs, together, seen }: Counts,
  of: AdjustmentOf,
  change: (gradient: number) => void,
  row: TokenRow,
  at: number,
): void {
  const token = row[at]!
  const { active, activeKinds } = features
  const count = features.read(row, at, false)
  let y = 0
  for (let j = 0; j < count; j++) {
    const feature = active[j]!
    const both = together[pairs.find(feature, token)]!
    if (both < 2) continue
    const left = seen[feature]! - 1
    y += (Math.exp(of(activeKinds[j]!, feature, token, left, both - 1)) * (both - 1)) / left
  }
  for (let j = 0; j < count; j++) {
    const feature = active[j]!
    const both = together[pairs.find(feature, token)]!
    const left = seen[feature]! - 1
    if (left < 1) continue
    const missed = (left + 1 - both) / left
    change(missed * Math.exp(of(activeKinds[j]!, feature, token, left, both)))
    if (both < 2) continue
    const share = (both - 1) / left
    change((1 - 1 / y) * share * Math.exp(of(activeKinds[j]!, feature, token, left, both - 1)))
  }
}

/** The last row that begins at or before a place. */
function rowAt(starts: readonly number[], at: number): number {
  let [low, high] = [0, starts.length - 1]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (starts[middle]! <= at) low = middle
    else high = middle - 1
  }
  return low
}

export default method({
  id: 'snm',
  title: 'Sparse non-negative matrix language model',
  socket: 'language-model',
  paper: 101,
  source: 'Shazeer, Pelemans and Chelba 2015, https://arxiv.org/abs/1412.1454',
  summary:
    'Relative frequencies of n-grams and skip-grams, adjusted by weights learned with each event left out.',
  options: snmSchema,
  make: (options) => (rows: readonly TokenRow[]) => trainSnm(rows, options),
})
