import { detached } from './chars.ts'

/** The tokens of one piece of text, in parallel lists. */
export interface Word {
  readonly ids: number[]
  /** Which UTF-16 units of the piece each token covers. */
  readonly starts: number[]
  readonly ends: number[]
}

/** Turns a piece of text, not empty, into tokens. */
export interface Model {
  tokenize(piece: string): Word
}

export const emptyWord = (): Word => ({ ids: [], starts: [], ends: [] })

/** Adds a token to a word. */
export function addToken(word: Word, id: number, start: number, end: number): void {
  word.ids.push(id)
  word.starts.push(start)
  word.ends.push(end)
}

/** A model that remembers short pieces: natural text repeats its words. At most `entries`, then it starts afresh. */
export function cached(model: Model, entries = 50_000): Model {
  const words = new Map<string, Word>()
  return {
    tokenize(piece) {
      if (piece.length > 64) return model.tokenize(piece)
      let word = words.get(piece)
      if (word === undefined) {
        word = model.tokenize(piece)
        if (words.size >= entries) words.clear()
        words.set(detached(piece), word)
      }
      return word
    },
  }
}
