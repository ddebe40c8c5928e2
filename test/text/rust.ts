/** Hugging Face's tokenizers in Rust, which a package for Node holds; installed beside the benchmarks. */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

interface RustTokenizer {
  encode(
    text: string,
    pair: null,
    options?: { addSpecialTokens: boolean },
  ): Promise<{ getIds(): number[]; getOffsets(): [number, number][] }>
  decode(ids: readonly number[], skipSpecialTokens: boolean): Promise<string>
}

const folder = fileURLToPath(new URL('../../bench/peers/', import.meta.url))
export const installed = existsSync(`${folder}node_modules/@anush008/tokenizers/index.js`)

export type Row = readonly [
  ids: readonly number[],
  offsets: readonly (readonly number[])[],
  decoded: string,
  withoutSpecial: string,
]

export interface Reference {
  row(text: string): Promise<Row>
  decode(ids: readonly number[], skipSpecialTokens: boolean): Promise<string>
}

/**
 * What the library says of texts, with offsets as we give them: in UTF-16 units, and [n, n] for special tokens that were
 * added after a text of length n, where it says [0, 0].
 */
export async function reference(json: unknown): Promise<Reference> {
  const { Tokenizer } = createRequire(`${folder}package.json`)('@anush008/tokenizers')
  const tokenizer: RustTokenizer = Tokenizer.fromString(JSON.stringify(json))
  const idsOf = async (text: string, addSpecialTokens: boolean): Promise<number[]> =>
    (await tokenizer.encode(text, null, { addSpecialTokens })).getIds()
  const [bare, full] = [await idsOf('a', false), await idsOf('a', true)]
  const prefix = Math.max(
    0,
    full.findIndex((_, i) => bare.every((id, j) => full[i + j] === id)),
  )
  return {
    decode: (ids, skip) => tokenizer.decode(ids, skip),
    async row(text) {
      const units = [0]
      for (const char of text) units.push(units.at(-1)! + char.length)
      const encoding = await tokenizer.encode(text, null)
      const ids = encoding.getIds()
      const suffix = prefix + (await idsOf(text, false)).length
      const offsets = encoding
        .getOffsets()
        .map(([start, end], i) => (i < suffix ? [units[start]!, units[end]!] : [text.length, text.length]))
      return [ids, offsets, await tokenizer.decode(ids, false), await tokenizer.decode(ids, true)]
    },
  }
}
