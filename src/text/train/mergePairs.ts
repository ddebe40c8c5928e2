/**
 * Byte-pair encoding's training loop (Sennrich et al. 2016): the most frequent pair of neighbouring symbols
 * becomes one symbol, again and again.
 *
 * Counts are kept for all pairs and changed where a merge changes them; a queue with late corrections finds the
 * largest. Ties go to the smallest left id, then the smallest right id, as in Hugging Face's trainer. Neighbours
 * are counted as they overlap: `aaa` has two pairs `aa`.
 */
import { PairTable } from '../pipeline/pairTable.ts'
import type { TrainingHooks } from './options.ts'
import { PairQueue } from './pairQueue.ts'
import type { SymbolWords } from './symbolWords.ts'

export interface MergeLimits {
  /** Tokens at most. */
  readonly vocabSize: number
  /** A pair that occurs less often is not merged. */
  readonly minFrequency: number
  /** No token is made of more first symbols than this. */
  readonly maxTokenLength: number
  /** The spelling of two tokens joined. */
  readonly join: (left: string, right: string) => string
}

/** Merged ids, in order. `tokens`, spellings by id, grows by what they make; the words' symbols are overwritten. */
export function mergePairs(
  words: SymbolWords,
  tokens: string[],
  limits: MergeLimits,
  { onProgress }: TrainingHooks = {},
): [left: number, right: number][] {
  const pairs = new PairCounts(words, tokens.length, limits.maxTokenLength)
  const ids = new Map(tokens.map((token, id) => [token, id]))
  const merges: [number, number][] = []
  const first = tokens.length
  const total = limits.vocabSize - first
  const least = Math.max(1, limits.minFrequency)
  while (tokens.length < limits.vocabSize) {
    const best = pairs.mostFrequent(least)
    if (best === undefined) break
    const [left, right] = best
    const token = limits.join(tokens[left]!, tokens[right]!)
    // `a` + `bc` may spell what `ab` + `c` has made already: another way to the same token.
    const known = ids.get(token)
    const id = known ?? tokens.push(token) - 1
    ids.set(token, id)
    merges.push([left, right])
    pairs.merge(left, right, id)
    if (merges.length % 64 === 0) onProgress?.({ step: 'merging', done: tokens.length - first, total })
  }
  onProgress?.({ step: 'merging', done: total, total })
  return merges
}

/** All pairs of neighbours in all words: how often, and in which words, each occurs. */
class PairCounts {
  readonly #words: SymbolWords
  readonly #lengths: Int32Array
  readonly #maxTokenLength: number
  /** First symbols in each symbol. */
  readonly #sizes: number[]
  readonly #index = new PairTable()
  readonly #left: number[] = []
  readonly #right: number[] = []
  readonly #counts: number[] = []
  /** Words that had the pair when it was counted; some no longer have it. */
  readonly #where: number[][] = []
  readonly #queue = new PairQueue({ left: this.#left, right: this.#right })
  /** Pairs whose count has grown in this merge. */
  #grown: number[] = []

  constructor(words: SymbolWords, alphabet: number, maxTokenLength: number) {
    this.#words = words
    this.#maxTokenLength = maxTokenLength
    this.#sizes = new Array<number>(alphabet).fill(1)
    const { symbols, starts, counts } = words
    this.#lengths = new Int32Array(counts.length)
    for (let word = 0; word < counts.length; word++) {
      const [start, end] = [starts[word]!, starts[word + 1]!]
      this.#lengths[word] = end - start
      for (let i = start; i + 1 < end; i++) this.#add(symbols[i]!, symbols[i + 1]!, word)
    }
    this.#settle()
  }

  /** The most frequent pair, if it occurs at least so often. */
  mostFrequent(least: number): [left: number, right: number] | undefined {
    while (this.#queue.size > 0) {
      const { pair, count } = this.#queue.pop()
      const now = this.#counts[pair]!
      if (now === count) return now < least ? undefined : [this.#left[pair]!, this.#right[pair]!]
      if (now >= least) this.#queue.push(pair, now)
    }
    return undefined
  }

  /** Makes every `left` that stands before `right` one symbol with it. */
  merge(left: number, right: number, id: number): void {
    this.#sizes[id] ??= this.#sizes[left]! + this.#sizes[right]!
    const pair = this.#index.get(left, right)
    const where = this.#where[pair]!
    this.#where[pair] = []
    for (const word of where) this.#mergeIn(word, left, right, id)
    this.#counts[pair] = 0
    this.#settle()
  }

  #mergeIn(word: number, left: number, right: number, id: number): void {
    const { symbols } = this.#words
    const start = this.#words.starts[word]!
    const end = start + this.#lengths[word]!
    let to = start
    for (let from = start; from < end; ) {
      if (symbols[from] !== left || from + 1 === end || symbols[from + 1] !== right) {
        symbols[to++] = symbols[from++]!
        continue
      }
      if (to > start) {
        this.#remove(symbols[to - 1]!, left, word)
        this.#add(symbols[to - 1]!, id, word)
      }
      if (from + 2 < end) {
        this.#remove(right, symbols[from + 2]!, word)
        this.#add(id, symbols[from + 2]!, word)
      }
      symbols[to++] = id
      from += 2
    }
    this.#lengths[word] = to - start
  }

  #add(left: number, right: number, word: number): void {
    if (this.#sizes[left]! + this.#sizes[right]! > this.#maxTokenLength) return
    let pair = this.#index.get(left, right)
    if (pair < 0) {
      pair = this.#left.push(left) - 1
      this.#right.push(right)
      this.#counts.push(0)
      this.#where.push([])
      this.#index.set(left, right, pair)
    }
    const count = this.#words.counts[word]!
    this.#counts[pair]! += count
    this.#grown.push(pair)
    const where = this.#where[pair]!
    if (where[where.length - 1] !== word) where.push(word)
  }

  #remove(left: number, right: number, word: number): void {
    const pair = this.#index.get(left, right)
    if (pair >= 0) this.#counts[pair]! -= this.#words.counts[word]!
  }

  /** Queues the pairs whose count has grown. Those whose count has shrunk are corrected when their turn comes. */
  #settle(): void {
    for (const pair of new Set(this.#grown))
      if (this.#counts[pair]! > 0) this.#queue.push(pair, this.#counts[pair]!)
    this.#grown = []
  }
}
