/** Candidates for the vocabulary of a unigram model, and the substrings that training begins with. */
import { PairTable } from '../pipeline/pairTable.ts'
import type { SymbolWords } from './symbolWords.ts'

/** Pieces of words: piece i is `symbols[at[i] .. at[i] + lengths[i]]`. */
export interface Pieces {
  readonly symbols: Int32Array
  readonly at: Int32Array
  readonly lengths: Int32Array
  /** Natural logarithms of probabilities. */
  readonly scores: Float64Array
}

/** Some of the pieces, in the order given, perhaps with other scores. */
export function selectPieces(pieces: Pieces, chosen: readonly number[], scores?: Float64Array): Pieces {
  return {
    symbols: pieces.symbols,
    at: Int32Array.from(chosen, (piece) => pieces.at[piece]!),
    lengths: Int32Array.from(chosen, (piece) => pieces.lengths[piece]!),
    scores: scores ?? Float64Array.from(chosen, (piece) => pieces.scores[piece]!),
  }
}

export interface SeedLimits {
  /** Pieces at most; single characters are always there. */
  readonly seedSize: number
  /** Longest piece, in characters. */
  readonly maxPieceLength: number
}

/**
 * The characters, and the substrings of words that save most: with the largest count times length. Only those that
 * occur twice, and not those that are always followed by the same character: the longer one is as frequent (as the
 * inner nodes of a suffix tree). Scores are logarithms of their shares.
 *
 * Substrings get names, length by length: the name of a longer one is that of the pair of its head's name and its
 * last character (Karp, Miller and Rosenberg 1972), which takes one look-up for each place and length.
 */
export function seedPieces(words: SymbolWords, { seedSize, maxPieceLength }: SeedLimits): Pieces {
  const found: Candidate[] = []
  let level = characters(words)
  const single = level.candidates
  for (let length = 2; length <= maxPieceLength && level.candidates.length > 0; length++) {
    const next = extend(words, level, length)
    for (const candidate of next.candidates) if (candidate.count >= 2) found.push(candidate)
    level = next
  }
  // Words are sorted, so the result does not depend on the order of the texts.
  const longer = found
    .filter(({ alwaysExtended }) => !alwaysExtended)
    .sort((a, b) => b.count * b.length - a.count * a.length || a.at - b.at)
    .slice(0, Math.max(0, seedSize - single.length))
  const all = [...single, ...longer]
  const total = all.reduce((sum, { count, length }) => sum + count * length, 0)
  return {
    symbols: words.symbols,
    at: Int32Array.from(all, ({ at }) => at),
    lengths: Int32Array.from(all, ({ length }) => length),
    scores: Float64Array.from(all, ({ count, length }) => Math.log((count * length) / total)),
  }
}

interface Candidate {
  /** Where it stands first. */
  readonly at: number
  readonly length: number
  /** How often it occurs in the corpus. */
  count: number
  /** Whether the same character follows it everywhere. */
  alwaysExtended: boolean
}

/** All substrings of one length: the candidates, and at each place the index of the one that begins there, or -1. */
interface Level {
  readonly candidates: Candidate[]
  readonly names: Int32Array
}

function characters({ symbols, starts, counts }: SymbolWords): Level {
  const candidates: Candidate[] = []
  const names = new Int32Array(symbols.length)
  const bySymbol: number[] = []
  for (let word = 0; word < counts.length; word++)
    for (let at = starts[word]!; at < starts[word + 1]!; at++) {
      let name = bySymbol[symbols[at]!]
      if (name === undefined) {
        name = candidates.push({ at, length: 1, count: 0, alwaysExtended: false }) - 1
        bySymbol[symbols[at]!] = name
      }
      candidates[name]!.count += counts[word]!
      names[at] = name
    }
  return { candidates, names }
}

function extend({ symbols, starts, counts }: SymbolWords, heads: Level, length: number): Level {
  const candidates: Candidate[] = []
  const names = new Int32Array(symbols.length).fill(-1)
  const table = new PairTable()
  const headOf: number[] = []
  for (let word = 0; word < counts.length; word++)
    for (let at = starts[word]!; at + length <= starts[word + 1]!; at++) {
      const head = heads.names[at]!
      if (head < 0 || heads.candidates[head]!.count < 2) continue
      const last = symbols[at + length - 1]!
      let name = table.get(head, last)
      if (name < 0) {
        name = candidates.push({ at, length, count: 0, alwaysExtended: false }) - 1
        table.set(head, last, name)
        headOf.push(head)
      }
      candidates[name]!.count += counts[word]!
      names[at] = name
    }
  for (const [name, { count }] of candidates.entries()) {
    const head = heads.candidates[headOf[name]!]!
    if (count === head.count) head.alwaysExtended = true
  }
  return { candidates, names }
}
