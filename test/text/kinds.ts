/** The kinds of tokenizer that the fixtures hold: small ones, and variations with sections of tokenizer.json replaced. */
import { readFileSync } from 'node:fs'
import { random } from '../../src/array/index.ts'
import { type Tokenizer, tokenizerFromHuggingFace } from '../../src/text/index.ts'

type Json = Readonly<Record<string, unknown>>

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../fixtures/text/${name}.json`, import.meta.url), 'utf8'))

const cases: Readonly<Record<string, { readonly base: string; readonly patch: Json }>> = fixture('cases')
export const kinds: readonly string[] = Object.keys(cases)

/** A tokenizer.json; of `model` only fields are replaced. */
export function tokenizerJson(kind: string): Json {
  const { base, patch } = cases[kind]!
  const json = fixture(base)
  const { model, ...sections } = patch
  return { ...json, ...sections, model: { ...json.model, ...(model as Json | undefined) } }
}

export const tokenizerOf = (kind: string): Tokenizer =>
  tokenizerFromHuggingFace({ tokenizer: { json: tokenizerJson(kind), file: 'tokenizer.json' } })

/** What a kind is asked to encode. */
export function textsFor(kind: string, texts: readonly string[]): readonly string[] {
  // Where a SentencePiece map removes the first character, the library moves all offsets of the text.
  return kind.includes('precompiled')
    ? texts.map((text) => (text.startsWith('\x7f') ? `a${text}` : text))
    : texts
}

/**
 * Sequences of ids that a kind is asked to decode: any, of which byte-level vocabularies make every kind of invalid UTF-8.
 * Where single bytes are tokens, runs of them are either valid or have no valid character in them: the library replaces
 * all bytes of a run with a bad one, we only the bad ones.
 */
export function idLists(tokenizer: Tokenizer, count: number, seed: number): number[][] {
  const uniform = random.generator(seed)
  const below = (n: number): number => Math.floor(uniform() * n)
  const byte = (value: number): number =>
    tokenizer.id(`<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`)!
  const hasBytes = byte(0) !== undefined
  const single = new Set(hasBytes ? Array.from({ length: 256 }, (_, i) => byte(i)) : [])
  const plain = (): number => {
    for (;;) {
      const id = below(tokenizer.vocabSize)
      if (!single.has(id)) return id
    }
  }
  const run = (): number[] => {
    const bytes =
      below(2) === 0
        ? new TextEncoder().encode(String.fromCodePoint([65, 233, 0x4e2d, 0x1f642][below(4)]! + below(60)))
        : Array.from({ length: 1 + below(4) }, () => [0x80, 0xbf, 0xc0, 0xff][below(4)]!)
    return [...Array.from(bytes, byte), plain()]
  }
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + below(16) }, () => (hasBytes && below(3) === 0 ? run() : [plain()])).flat(),
  )
}
