import { addToken, emptyWord, type Model, type Word } from './model.ts'
import { Trie } from './trie.ts'
import type { Vocabulary } from './vocabulary.ts'

/** BERT's model: the longest token first, the rest again; a word that cannot be finished is unknown as a whole. */
export class WordPieceModel implements Model {
  private readonly first = new Trie()
  private readonly rest = new Trie()
  private readonly unk: number
  private readonly maxChars: number

  /** `maxChars`: longer words (in characters) are unknown. */
  constructor(vocabulary: Vocabulary, continuingPrefix: string, unk: number, maxChars: number) {
    this.unk = unk
    this.maxChars = maxChars
    for (const [token, id] of vocabulary.ids) {
      this.first.set(token, id)
      if (token.startsWith(continuingPrefix)) this.rest.set(token.slice(continuingPrefix.length), id)
    }
  }

  tokenize(piece: string): Word {
    const unknown = { ids: [this.unk], starts: [0], ends: [piece.length] }
    let chars = 0
    for (const _ of piece) if (++chars > this.maxChars) return unknown
    const word = emptyWord()
    for (let at = 0; at < piece.length; ) {
      const { to, value } = (at === 0 ? this.first : this.rest).longest(piece, at)
      if (to === at) return unknown
      addToken(word, value, at, to)
      at = to
    }
    return word
  }
}
