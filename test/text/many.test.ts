/** Thousands of texts for every kind of tokenizer, and what Hugging Face's Rust library makes of them. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { hashes, listCount, textCount, together } from './hashes.ts'
import { idLists, kinds, textsFor, tokenizerJson, tokenizerOf } from './kinds.ts'
import { installed, type Row, reference } from './rust.ts'
import { strings } from './strings.ts'

const expected: Readonly<Record<string, readonly [texts: string, lists: string]>> = JSON.parse(
  readFileSync(new URL('../fixtures/text/many.json', import.meta.url), 'utf8'),
)
const long = process.env.GLOSSA_FUZZ_RUNS !== undefined
const texts = strings(textCount, 1)

/** Kinds that models have; the others, which vary single steps, are asked less unless the run is a long one. */
const common = new Set([
  ...['byte-level', 'byte-fallback', 'wordpiece', 'unigram', 'suffix-bpe', 'prefix-bpe', 'wordlevel'],
  ...['gguf gpt-2', 'gguf qwen2', 'gguf gpt-4o', 'gguf deepseek-v3', 'llama 3', 'falcon', 'starcoder'],
  ...['roberta True', 'gemma', 'metaspace first True', 'bert cased', 'unigram, precompiled', 'NFC'],
])

function ours(kind: string, all: readonly string[]): Row[] {
  const tokenizer = tokenizerOf(kind)
  return textsFor(kind, all).map((text) => {
    const { ids, offsets } = tokenizer.encode(text)
    return [ids, offsets, tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecialTokens: true })]
  })
}

describe('ids, offsets and texts are those of the reference implementation', () => {
  it.each(kinds)('%s', (kind) => {
    const asked = texts.slice(0, long || common.has(kind) ? textCount : 10 * together)
    const digests = hashes(ours(kind, asked))
    digests.forEach((digest, i) => {
      const about = `texts ${i * together} to ${(i + 1) * together - 1} of strings.ts`
      expect(digest, about).toBe(expected[kind]![0].slice(6 * i, 6 * i + 6))
    })
    const tokenizer = tokenizerOf(kind)
    const decoded = idLists(tokenizer, listCount, 1).map((ids) =>
      [false, true].map((skipSpecialTokens) => tokenizer.decode(ids, { skipSpecialTokens })),
    )
    expect(hashes(decoded).join('')).toBe(expected[kind]![1])
  })
})

// Other texts in every run; the message has the text, so that it can be repeated.
describe.skipIf(!installed)('against the Rust library itself', () => {
  const seed = Math.floor(Math.random() * 2 ** 31)
  const count = long ? 2000 : 45
  it.each(kinds)(`%s, seed ${seed}`, { timeout: 120_000 }, async (kind) => {
    const library = await reference(tokenizerJson(kind))
    const asked = textsFor(kind, strings(count, seed))
    const found = ours(kind, asked)
    for (const [i, text] of asked.entries())
      expect(found[i], JSON.stringify(text)).toEqual(await library.row(text))
    const tokenizer = tokenizerOf(kind)
    for (const ids of idLists(tokenizer, count, seed))
      for (const skipSpecialTokens of [false, true])
        expect(tokenizer.decode(ids, { skipSpecialTokens }), `${ids}`).toBe(
          await library.decode(ids, skipSpecialTokens),
        )
  })
})
