import { type Place, quote } from '../errors.ts'

/** No vocabulary comes near this; a damaged id must not make us allocate gigabytes. */
export const maxVocabulary = 2 ** 22

/** Spellings and ids, one to one; ids may have gaps. It grows while a tokenizer is read. */
export class Vocabulary {
  readonly tokens: (string | undefined)[] = []
  readonly ids = new Map<string, number>()

  /** One more than the largest id. */
  get size(): number {
    return this.tokens.length
  }

  add(token: string, id: unknown, place: Place): void {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= maxVocabulary) {
      place.fail(`not a token id: ${quote(id)}`)
    }
    const known = this.tokens[id as number]
    if (known !== undefined) place.fail(`id ${id} belongs to ${quote(known)} and to ${quote(token)}`)
    if (this.ids.has(token)) place.fail(`${quote(token)} has the ids ${this.ids.get(token)} and ${id}`)
    while (this.tokens.length < (id as number)) this.tokens.push(undefined)
    this.tokens[id as number] = token
    this.ids.set(token, id as number)
  }

  /** The same tokens, to which others can be added. */
  copy(): Vocabulary {
    const copy = new Vocabulary()
    for (const token of this.tokens) copy.tokens.push(token)
    for (const [token, id] of this.ids) copy.ids.set(token, id)
    return copy
  }

  /** The id of a token that must be there. */
  require(token: string, place: Place): number {
    return this.ids.get(token) ?? place.fail(`${quote(token)} is not in the vocabulary`)
  }

  /** Ids of the tokens `<0x00>` to `<0xFF>`, -1 where there is none. */
  byteTokens(): Int32Array {
    return Int32Array.from({ length: 256 }, (_, byte) => this.ids.get(byteToken(byte)) ?? -1)
  }
}

/** How SentencePiece spells the token of a single byte. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`

/** The byte that a token spells, `<0x0A>` being 10, or -1. */
export function byteOfToken(token: string): number {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : -1
}
