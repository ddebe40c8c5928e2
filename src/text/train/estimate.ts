/** Estimating the probabilities of pieces, and finding those that are not worth their place. */
import { Lattice } from './lattice.ts'
import { type Pieces, selectPieces } from './pieces.ts'
import type { SymbolWords } from './symbolWords.ts'

/** A piece that is expected less often than this in the whole corpus goes. */
const leastExpected = 0.5

/** One step of EM: pieces with new scores, and the log-likelihood in nats that the old ones gave. */
export interface Estimated {
  readonly pieces: Pieces
  readonly likelihood: number
}

/**
 * Expectation and maximization with a sparse prior, as in SentencePiece: the score of a piece with expected count c
 * is digamma(c) - digamma(sum of all), which takes from rare pieces (the variational step for a Dirichlet process,
 * Liang and Klein 2007). Pieces that are hardly expected are dropped; single characters never.
 */
export function sparseStep(words: SymbolWords, pieces: Pieces): Estimated {
  const { expected, likelihood } = expectations(words, pieces)
  const kept: number[] = []
  for (let piece = 0; piece < expected.length; piece++)
    if (pieces.lengths[piece] === 1 || expected[piece]! >= leastExpected) kept.push(piece)
  const counts = Float64Array.from(kept, (piece) => Math.max(expected[piece]!, leastExpected))
  const total = digamma(counts.reduce((sum, count) => sum + count, 0))
  return {
    pieces: selectPieces(
      pieces,
      kept,
      counts.map((count) => digamma(count) - total),
    ),
    likelihood,
  }
}

/**
 * Expectation and maximization of the likelihood: scores are logarithms of shares, and their probabilities sum to
 * one. What is expected less often than `floor` counts as that; with 0 the likelihood never falls.
 */
export function likelihoodStep(words: SymbolWords, pieces: Pieces, floor = leastExpected): Estimated {
  const { expected, likelihood } = expectations(words, pieces)
  const counts = expected.map((count) => Math.max(count, floor))
  const total = Math.log(counts.reduce((sum, count) => sum + count, 0))
  return { pieces: { ...pieces, scores: counts.map((count) => Math.log(count) - total) }, likelihood }
}

function expectations(words: SymbolWords, pieces: Pieces) {
  const expected = new Float64Array(pieces.scores.length)
  return { likelihood: new Lattice(pieces).expect(words, expected), expected }
}

/**
 * Keeps the `size` pieces that the likelihood would miss most. Removing a piece replaces it by its best
 * segmentation into others, wherever it stands in the best segmentation of the corpus; what that costs is
 * estimated as in SentencePiece, one piece at a time. Pieces that are used nowhere go, single characters stay.
 */
export function prune(words: SymbolWords, pieces: Pieces, size: number): Pieces {
  const lattice = new Lattice(pieces)
  const used = lattice.bestCounts(words)
  const total = used.reduce((sum, count) => sum + count, 0)
  const kept: number[] = []
  const losses: [piece: number, loss: number][] = []
  for (let piece = 0; piece < used.length; piece++) {
    const count = used[piece]!
    if (pieces.lengths[piece] === 1) kept.push(piece)
    else if (count > 0) {
      const parts = lattice.best(pieces.symbols, pieces.at[piece]!, pieces.lengths[piece]!, piece)
      const totalWithout = Math.log(total + count * (parts.length - 1))
      const without = parts.reduce((sum, part) => sum + Math.log(used[part]! + count) - totalWithout, 0)
      losses.push([piece, count * (Math.log(count) - Math.log(total) - without)])
    }
  }
  losses.sort(([a, lossA], [b, lossB]) => lossB - lossA || a - b)
  for (const [piece] of losses.slice(0, Math.max(0, size - kept.length))) kept.push(piece)
  return selectPieces(pieces, kept)
}

/** The derivative of the logarithm of the gamma function, for x > 0: by recurrence up to 10, then asymptotically. */
export function digamma(x: number): number {
  let result = 0
  for (; x < 10; x++) result -= 1 / x
  const inverse = 1 / (x * x)
  // Abramowitz and Stegun 6.3.18.
  const series =
    inverse * (1 / 12 - inverse * (1 / 120 - inverse * (1 / 252 - inverse * (1 / 240 - inverse / 132))))
  return result + Math.log(x) - 1 / (2 * x) - series
}
