import { type Place, quote } from '../errors.ts'
import { type Merge, Merger } from './merge.ts'
import { addToken, emptyWord, type Model, type Word } from './model.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface BpeOptions {
  readonly vocabulary: Vocabulary
  readonly merges: readonly Merge[]
  /**
   * Characters that merges use but that are not tokens themselves, with ids from `vocabulary.size` on. Where
   * they remain unmerged they count as unknown.
   */
  readonly bareCharacters?: ReadonlyMap<string, number>
  /** Spell unknown characters as the tokens of their UTF-8 bytes, if there are such tokens. */
  readonly byteFallback?: boolean
  /** The token for what is still unknown, and whether neighbours share one. */
  readonly unk?: number | undefined
  readonly fuseUnk?: boolean
  /** A piece that is a token is that token, whatever the merges say. */
  readonly ignoreMerges?: boolean
  /** Added to every character but the first, and to the last one, before they are looked up. */
  readonly continuingPrefix?: string
  readonly endSuffix?: string
}

const encoder = new TextEncoder()

/** Byte-pair encoding: characters, merged pair by pair. */
export class BpeModel implements Model {
  private readonly options: BpeOptions
  private readonly place: Place
  private readonly merger: Merger
  private readonly byteIds: Int32Array | undefined
  private symbols = new Int32Array(0)

  /** `place` is what an error about an unknown character refers to. */
  constructor(options: BpeOptions, place: Place) {
    this.options = options
    this.place = place
    this.merger = new Merger(options.merges)
    this.byteIds = options.byteFallback ? options.vocabulary.byteTokens() : undefined
  }

  tokenize(piece: string): Word {
    const { ignoreMerges, vocabulary } = this.options
    const whole = ignoreMerges ? vocabulary.ids.get(piece) : undefined
    if (whole !== undefined) return { ids: [whole], starts: [0], ends: [piece.length] }
    const word = this.characters(piece)
    const length = word.ids.length
    if (length > this.symbols.length) this.symbols = new Int32Array(2 * length)
    this.symbols.set(word.ids)
    this.merger.merge(this.symbols, length)
    return this.merged(piece, word)
  }

  /** The piece in characters: tokens, bare characters, bytes or the unknown token. */
  private characters(piece: string): Word {
    const { vocabulary, bareCharacters, continuingPrefix = '', endSuffix = '' } = this.options
    const word = emptyWord()
    let at = 0
    for (const char of piece) {
      const end = at + char.length
      const key = (at > 0 ? continuingPrefix : '') + char + (end === piece.length ? endSuffix : '')
      const id = vocabulary.ids.get(key) ?? bareCharacters?.get(key)
      if (id !== undefined) addToken(word, id, at, end)
      else this.addUnknown(word, char, at, end)
      at = end
    }
    return word
  }

  /** What remains after merging. */
  private merged(piece: string, { starts, ends, ids }: Word): Word {
    const word = emptyWord()
    const { symbols } = this
    const { size } = this.options.vocabulary
    for (let i = 0; i < ids.length; ) {
      const first = i++
      while (i < ids.length && symbols[i] === -1) i++
      const [id, start, end] = [symbols[first]!, starts[first]!, ends[i - 1]!]
      if (id < size) addToken(word, id, start, end)
      else this.addUnknown(word, piece.slice(start, end), start, end)
    }
    return word
  }

  private addUnknown(word: Word, char: string, start: number, end: number): void {
    const { unk, fuseUnk } = this.options
    const { byteIds } = this
    if (byteIds !== undefined) {
      const bytes = encoder.encode(char)
      if (bytes.every((byte) => byteIds[byte]! >= 0)) {
        for (const byte of bytes) addToken(word, byteIds[byte]!, start, end)
        return
      }
    }
    if (unk === undefined)
      this.place.fail(`no token for the character ${quote(char)}, and none for unknown ones`)
    const last = word.ids.length - 1
    if (fuseUnk && word.ids[last] === unk && word.ends[last] === start) word.ends[last] = end
    else addToken(word, unk, start, end)
  }
}

/**
 * Tokenizes word by word, where a word begins with `mark` (`▁`, a space), if that gives the same tokens: no
 * token may have the mark after another character. Then words can be remembered, and a long text costs what
 * its new words cost. Returns the model itself where it would not be the same.
 */
export function byWords(model: Model, mark: string, vocabulary: Vocabulary): Model {
  if (!vocabulary.ids.has(mark)) return model
  for (const token of vocabulary.ids.keys()) if (hasInner(token, mark)) return model
  return {
    tokenize(piece) {
      const word = emptyWord()
      let from = 0
      while (from < piece.length) {
        let to = from
        while (piece[to] === mark) to++
        to = piece.indexOf(mark, to)
        if (to < 0) to = piece.length
        const { ids, starts, ends } = model.tokenize(
          from === 0 && to === piece.length ? piece : piece.slice(from, to),
        )
        for (let i = 0; i < ids.length; i++) addToken(word, ids[i]!, from + starts[i]!, from + ends[i]!)
        from = to
      }
      return word
    },
  }
}

function hasInner(token: string, mark: string): boolean {
  let i = 0
  while (token[i] === mark) i++
  return token.includes(mark, i)
}
