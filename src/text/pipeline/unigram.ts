import { type Place, quote } from '../errors.ts'
import { charLength } from './chars.ts'
import { addToken, emptyWord, type Model, type Word } from './model.ts'
import { Trie } from './trie.ts'
import type { Vocabulary } from './vocabulary.ts'

/** How much less likely an unknown character is than the least likely token, in nats. */
const unknownPenalty = 10

const encoder = new TextEncoder()

/** SentencePiece's unigram model: the segmentation with the largest sum of scores (log probabilities). */
export class UnigramModel implements Model {
  private readonly trie = new Trie()
  private readonly scores: Float64Array
  private readonly unknownScore: number
  private readonly unk: number | undefined
  private readonly byteIds: Int32Array | undefined
  private readonly place: Place

  /** `scores` by id. `place` is what an error about an unknown character refers to. */
  constructor(
    vocabulary: Vocabulary,
    scores: Float64Array,
    unk: number | undefined,
    byteFallback: boolean,
    place: Place,
  ) {
    this.scores = scores
    this.unk = unk
    this.byteIds = byteFallback ? vocabulary.byteTokens() : undefined
    this.place = place
    let least = Number.POSITIVE_INFINITY
    for (const score of scores) least = Math.min(least, score)
    this.unknownScore = least - unknownPenalty
    for (const [token, id] of vocabulary.ids) this.trie.set(token, id)
  }

  /** Viterbi: for every place, the best way to get there, and where its last token began. */
  tokenize(piece: string): Word {
    const best = new Float64Array(piece.length + 1)
    const from = new Int32Array(piece.length + 1).fill(-1)
    const ids = new Int32Array(piece.length + 1)
    for (let at = 0; at < piece.length; ) {
      const next = at + charLength(piece, at)
      let single = false
      const reach = (to: number, id: number, score: number) => {
        if (from[to] !== -1 && score <= best[to]!) return
        best[to] = score
        from[to] = at
        ids[to] = id
      }
      this.trie.prefixes(piece, at, (to, id) => {
        single ||= to === next
        reach(to, id, this.scores[id]! + best[at]!)
      })
      if (!single) reach(next, -1, this.unknownScore + best[at]!)
      at = next
    }
    return this.backtrack(piece, from, ids)
  }

  private backtrack(piece: string, from: Int32Array, ids: Int32Array): Word {
    const ends: number[] = []
    for (let at = piece.length; at > 0; at = from[at]!) ends.push(at)
    const word = emptyWord()
    const isUnknown = (end: number) => ids[end] === -1 || ids[end] === this.unk
    for (let i = ends.length - 1; i >= 0; i--) {
      const start = from[ends[i]!]!
      if (!isUnknown(ends[i]!)) {
        addToken(word, ids[ends[i]!]!, start, ends[i]!)
        continue
      }
      while (i > 0 && isUnknown(ends[i - 1]!)) i-- // neighbouring unknown characters are one unknown token
      this.addUnknown(word, piece, start, ends[i]!)
    }
    return word
  }

  private addUnknown(word: Word, piece: string, start: number, end: number): void {
    const { byteIds, unk } = this
    const text = piece.slice(start, end)
    const bytes = byteIds === undefined ? undefined : encoder.encode(text)
    if (byteIds !== undefined && bytes?.every((byte) => byteIds[byte]! >= 0)) {
      for (const byte of bytes) addToken(word, byteIds[byte]!, start, end)
    } else if (unk !== undefined) addToken(word, unk, start, end)
    else this.place.fail(`no token for ${quote(text)}, and none for unknown text`)
  }
}
