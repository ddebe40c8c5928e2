/** The words of a corpus as numbers, and the alphabet that they are written in. */
import type { WordCounts } from './wordCounts.ts'

/** Different words as symbols. */
export interface SymbolWords {
  /** The symbols of all words, one word after the other. */
  readonly symbols: Int32Array
  /** Word w is `symbols[starts[w] .. starts[w + 1]]`. */
  readonly starts: Int32Array
  /** How often word w occurs. */
  readonly counts: Float64Array
}

/** `spell` gives the symbols of a word; words that it spells with none are left out. */
export function symbolWords<Word>(
  counts: Iterable<readonly [word: Word, count: number]>,
  spell: (word: Word) => readonly number[],
): SymbolWords {
  let symbols = new Int32Array(1 << 16)
  const starts = [0]
  const kept: number[] = []
  let at = 0
  for (const [word, count] of counts) {
    const spelled = spell(word)
    if (spelled.length === 0) continue
    if (at + spelled.length > symbols.length) {
      const larger = new Int32Array(Math.max(2 * symbols.length, at + spelled.length))
      larger.set(symbols)
      symbols = larger
    }
    symbols.set(spelled, at)
    at += spelled.length
    starts.push(at)
    kept.push(count)
  }
  return {
    symbols: symbols.slice(0, at),
    starts: Int32Array.from(starts),
    counts: Float64Array.from(kept),
  }
}

/** The most frequent characters, `limit` at most, in the order of their code points. */
export function alphabetOf(counts: WordCounts, limit = Number.POSITIVE_INFINITY): string[] {
  const total = new Map<string, number>()
  for (const [word, count] of counts) for (const char of word) total.set(char, (total.get(char) ?? 0) + count)
  const byPoint = (a: string, b: string): number => a.codePointAt(0)! - b.codePointAt(0)!
  return [...total]
    .sort(([a, countA], [b, countB]) => countB - countA || byPoint(a, b))
    .slice(0, limit)
    .map(([char]) => char)
    .sort(byPoint)
}
