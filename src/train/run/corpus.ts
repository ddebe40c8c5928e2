/** A corpus of files as tokens, with the last documents of each file apart. */
import type { Tokenizer } from '../../text/index.ts'
import { openText } from '../data/text.ts'
import { tokenizeCorpus } from '../data/tokenize.ts'
import type { Rows } from '../data/types.ts'
import type { Recipe } from './recipe.ts'

export type TokenArray = Int32Array | Uint16Array

export interface Corpus {
  readonly name: string
  readonly weight: number | undefined
  readonly learned: TokenArray
  readonly heldOut: TokenArray
  /** Of the documents held out. */
  readonly bytesPerToken: number
}

/** The tokens of one source, with the last documents of each file apart. */
export async function openCorpus(
  { files, weight, heldOut, name }: Recipe['data']['sources'][number],
  tokenizer: Tokenizer,
  at: (path: string) => string,
  note: (text: string) => void,
): Promise<Corpus> {
  const learned: TokenArray[] = []
  const apart: TokenArray[] = []
  let bytes = 0
  // Where a text begins with the token that ends it, one between two texts is enough.
  const end = tokenizer.bos !== undefined && tokenizer.bos === tokenizer.eos ? { endOfText: null } : {}
  for (const { file, ...reading } of files) {
    note(`reading ${file} ...`)
    const rows = await openText(at(file), reading)
    const border = rows.length - Math.ceil(rows.length * heldOut)
    const [first, last] = [part(rows, 0, border), part(rows, border, rows.length)]
    learned.push((await tokenizeCorpus(first, tokenizer, end)).tokens)
    if (last.length === 0) continue
    apart.push((await tokenizeCorpus(last, tokenizer, end)).tokens)
    for (let i = 0; i < last.length; i++) bytes += Buffer.byteLength((await last.at(i)) as string)
  }
  const kept = joined(apart)
  return { name, weight, learned: joined(learned), heldOut: kept, bytesPerToken: bytes / kept.length }
}

const part = (rows: Rows<unknown>, from: number, to: number): Rows<unknown> => ({
  length: to - from,
  at: async (index) => ((await rows.at(from + index)) as { text: string }).text,
})

function joined(parts: readonly TokenArray[]): TokenArray {
  const length = parts.reduce((sum, { length }) => sum + length, 0)
  const all = parts.every((tokens) => tokens instanceof Uint16Array)
    ? new Uint16Array(length)
    : new Int32Array(length)
  let at = 0
  for (const tokens of parts) {
    all.set(tokens, at)
    at += tokens.length
  }
  return all
}
