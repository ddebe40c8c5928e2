/** All ways to write a word as pieces: how likely they are together, what they use, and which is the best. */
import { PairTable } from '../pipeline/pairTable.ts'
import type { Pieces } from './pieces.ts'
import type { SymbolWords } from './symbolWords.ts'

/**
 * The edges of a word's lattice are the pieces that it contains. With p(x) the probability of a segmentation, the
 * product of its pieces' probabilities, forward and backward sums over all segmentations give the marginal
 * likelihood of the word and the expected count of each piece (Kudo 2018, section 3.2).
 *
 * Every character of every word must be a piece.
 */
export class Lattice {
  readonly #pieces: Pieces
  readonly #children: PairTable
  /** The piece that ends at a node of the trie, or -1. */
  readonly #pieceAt: number[] = [-1]
  #from = new Int32Array(256)
  #to = new Int32Array(256)
  #piece = new Int32Array(256)
  #forward = new Float64Array(64)
  #backward = new Float64Array(64)
  #best = new Int32Array(64)

  constructor(pieces: Pieces) {
    this.#pieces = pieces
    this.#children = new PairTable(pieces.scores.length)
    const { symbols, at, lengths } = pieces
    for (let piece = 0; piece < at.length; piece++) {
      let node = 0
      for (let i = at[piece]!; i < at[piece]! + lengths[piece]!; i++) {
        let child = this.#children.get(node, symbols[i]!)
        if (child < 0) {
          child = this.#pieceAt.push(-1) - 1
          this.#children.set(node, symbols[i]!, child)
        }
        node = child
      }
      this.#pieceAt[node] = piece
    }
  }

  /** Adds the expected count of every piece to `expected` [pieces]; the log-likelihood of all words in nats. */
  expect({ symbols, starts, counts }: SymbolWords, expected: Float64Array): number {
    const { scores } = this.#pieces
    let likelihood = 0
    for (let word = 0; word < counts.length; word++) {
      const length = starts[word + 1]! - starts[word]!
      const edges = this.#edges(symbols, starts[word]!, length)
      const [from, to, piece] = [this.#from, this.#to, this.#piece]
      const [forward, backward] = [this.#forward, this.#backward]
      forward.fill(Number.NEGATIVE_INFINITY, 0, length + 1)
      backward.fill(Number.NEGATIVE_INFINITY, 0, length + 1)
      forward[0] = 0
      backward[length] = 0
      for (let i = 0; i < edges; i++)
        forward[to[i]!] = logAdd(forward[to[i]!]!, forward[from[i]!]! + scores[piece[i]!]!)
      for (let i = edges - 1; i >= 0; i--)
        backward[from[i]!] = logAdd(backward[from[i]!]!, backward[to[i]!]! + scores[piece[i]!]!)
      const count = counts[word]!
      const whole = forward[length]!
      likelihood += count * whole
      for (let i = 0; i < edges; i++) {
        const share = forward[from[i]!]! + scores[piece[i]!]! + backward[to[i]!]! - whole
        expected[piece[i]!]! += count * Math.exp(share)
      }
    }
    return likelihood
  }

  /** How often each piece is in the best segmentations of all words. */
  bestCounts({ symbols, starts, counts }: SymbolWords): Float64Array {
    const used = new Float64Array(this.#pieces.scores.length)
    for (let word = 0; word < counts.length; word++)
      for (const piece of this.best(symbols, starts[word]!, starts[word + 1]! - starts[word]!))
        used[piece]! += counts[word]!
    return used
  }

  /** The most likely segmentation (Viterbi) of `symbols[start .. start + length]`, without the piece `except`. */
  best(symbols: Int32Array, start: number, length: number, except = -1): number[] {
    const { scores } = this.#pieces
    const edges = this.#edges(symbols, start, length)
    const [forward, best] = [this.#forward, this.#best]
    forward.fill(Number.NEGATIVE_INFINITY, 0, length + 1)
    forward[0] = 0
    for (let i = 0; i < edges; i++) {
      const piece = this.#piece[i]!
      const score = forward[this.#from[i]!]! + scores[piece]!
      if (piece === except || score <= forward[this.#to[i]!]!) continue
      forward[this.#to[i]!] = score
      best[this.#to[i]!] = i
    }
    const path: number[] = []
    for (let at = length; at > 0; at = this.#from[best[at]!]!) path.push(this.#piece[best[at]!]!)
    return path.reverse()
  }

  /** Finds the pieces of a word, ordered by where they begin; their number. */
  #edges(symbols: Int32Array, start: number, length: number): number {
    this.#reserve(length + 1)
    let edges = 0
    for (let from = 0; from < length; from++) {
      let node = 0
      for (let to = from; to < length; ) {
        node = this.#children.get(node, symbols[start + to]!)
        if (node < 0) break
        to++
        const piece = this.#pieceAt[node]!
        if (piece < 0) continue
        if (edges === this.#from.length) this.#grow()
        this.#from[edges] = from
        this.#to[edges] = to
        this.#piece[edges++] = piece
      }
    }
    return edges
  }

  #reserve(places: number): void {
    if (places <= this.#forward.length) return
    this.#forward = new Float64Array(2 * places)
    this.#backward = new Float64Array(2 * places)
    this.#best = new Int32Array(2 * places)
  }

  #grow(): void {
    const larger = (old: Int32Array) => {
      const array = new Int32Array(2 * old.length)
      array.set(old)
      return array
    }
    this.#from = larger(this.#from)
    this.#to = larger(this.#to)
    this.#piece = larger(this.#piece)
  }
}

/** log(exp(a) + exp(b)) */
function logAdd(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY) return b
  return a > b ? a + Math.log1p(Math.exp(b - a)) : b + Math.log1p(Math.exp(a - b))
}
