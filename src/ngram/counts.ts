/**
 * Counts of n-grams of all orders up to `order`, as Kneser-Ney smoothing needs them: those of the longest as they are,
 * those of shorter ones as the number of different tokens that they follow. In front of each row stands a token that
 * is never predicted; what begins with it has nothing before it and is counted as it is (Heafield et al. 2013).
 */
import { checkToken, type TokenRow } from './languageModel.ts'
import { PairTable } from './table.ts'

/**
 * The n-grams of one order, sorted by context and token: those of context c lie from `starts[c]` to `starts[c + 1]`.
 * A context is the place of its n-gram in the order below; order 1 has one context, the empty one.
 */
export interface Level {
  readonly starts: Int32Array
  readonly tokens: Int32Array
  readonly counts: Int32Array
}

/** The orders 1 to `order`. The token in front of rows is `vocabulary`. */
export function countNgrams(rows: Iterable<TokenRow>, order: number, vocabulary: number): Level[] {
  const tables = Array.from({ length: order }, () => new PairTable())
  const counts: Int32Array[] = tables.map(() => new Int32Array(1024))
  const count = (level: number, ngram: number) => {
    let row = counts[level]!
    if (ngram >= row.length) {
      const larger = new Int32Array(Math.max(ngram + 1, row.length * 2))
      larger.set(row)
      counts[level] = row = larger
    }
    row[ngram]!++
  }
  // at[k]: the last k tokens as an n-gram of order k; at[0] the empty one.
  const at = new Int32Array(order + 1)
  for (const row of rows) {
    at.fill(-1)
    at[0] = 0
    at[1] = tables[0]!.add(0, vocabulary)
    for (let i = 0; i < row.length; i++) {
      const token = row[i]!
      checkToken(token, vocabulary)
      // Longest first: at[k - 1] is still that of the token before.
      const longest = Math.min(order, i + 2)
      let extended = true
      for (let k = longest; k >= 1; k--) {
        const table = tables[k - 1]!
        const before = table.size
        at[k] = table.add(at[k - 1]!, token)
        // The longest is counted each time, a shorter one when a token is met before it for the first time.
        if (extended) count(k - 1, at[k]!)
        extended = table.size > before
      }
    }
  }
  let places: Int32Array | undefined
  return tables.map((table, level) => {
    const contexts = level === 0 ? 1 : tables[level - 1]!.size
    const sorted = sortLevel(table, counts[level]!, places, contexts, vocabulary)
    places = sorted.places
    return sorted.level
  })
}

/** `places`: where the contexts, by their numbers, have come to lie in the order below. */
function sortLevel(
  table: PairTable,
  counts: Int32Array,
  places: Int32Array | undefined,
  contextCount: number,
  vocabulary: number,
): { level: Level; places: Int32Array } {
  const { size, tokens } = table
  const contexts = table.contexts.slice()
  if (places) for (let i = 0; i < size; i++) contexts[i] = places[contexts[i]!]!
  const all = new Int32Array(size)
  for (let i = 0; i < size; i++) all[i] = i
  const { order: byToken } = countingSort(all, tokens, vocabulary + 1)
  const { order, starts } = countingSort(byToken, contexts, contextCount)
  const to = new Int32Array(size)
  const level = { starts, tokens: new Int32Array(size), counts: new Int32Array(size) }
  for (let place = 0; place < size; place++) {
    const ngram = order[place]!
    to[ngram] = place
    level.tokens[place] = tokens[ngram]!
    level.counts[place] = counts[ngram] ?? 0
  }
  return { level, places: to }
}

/** Sorts `items` by `keys[item]` below `limit`, keeping the order of equal ones. */
function countingSort(items: Int32Array, keys: Int32Array, limit: number) {
  const starts = new Int32Array(limit + 1)
  for (const item of items) starts[keys[item]! + 1]!++
  for (let i = 0; i < limit; i++) starts[i + 1]! += starts[i]!
  const next = starts.slice()
  const order = new Int32Array(items.length)
  for (const item of items) order[next[keys[item]!]!++] = item
  return { order, starts }
}

/** The place of the n-gram of `context` and `token`, or -1. */
export function findNgram({ starts, tokens }: Level, context: number, token: number): number {
  let low = starts[context]!
  let high = starts[context + 1]! - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const found = tokens[middle]!
    if (found === token) return middle
    if (found < token) low = middle + 1
    else high = middle - 1
  }
  return -1
}
