/**
 * A corpus's tokens in a file, so that it is encoded once:
 *
 *   0      JSON, filled up with spaces to 4096 bytes and a line break: what it is, counts, what it was made from
 *   4096   tokens, u16 or i32, little-endian
 *   ...    where each document begins, i32, at the next multiple of 4
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import * as z from 'zod'
import { AtomicFile, SourceFile } from '../../store/file.ts'
import { FileError, type Source } from '../../store/source.ts'
import type { Tokenizer } from '../../text/index.ts'
import { beginIsEnd, encodeRows, endToken, type TokenizeOptions, textOf, tokenArray } from './encodeRows.ts'
import type { Rows, TokenStream } from './types.ts'

const headSize = 4096
const kind = 'glossa tokens 1'

const headSchema = z.strictObject({
  kind: z.literal(kind),
  type: z.enum(['u16', 'i32']),
  tokens: z.int().nonnegative(),
  documents: z.int().nonnegative(),
  /** sha256 of vocabulary and behaviour. */
  tokenizer: z.string(),
  /** sha256 of the stamp of the rows, or of the rows. */
  source: z.string(),
  options: z.record(z.string(), z.unknown()),
})
type Head = z.infer<typeof headSchema>

/**
 * The tokens from the file if they were made of the same, else encoded and kept there. Rows are the same if
 * their stamp is (their text, where they have none), the tokenizer if vocabulary and test texts are, and then some
 * documents are encoded again and compared. FileError if the file is something else: nothing is overwritten.
 */
export async function cachedTokens(
  path: string,
  rows: Rows<unknown>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): Promise<TokenStream> {
  const { column = 'text', parseSpecialTokens = false, progress } = options
  const made: Pick<Head, 'tokenizer' | 'source' | 'options'> = {
    tokenizer: fingerprint(tokenizer),
    source: sha256([rows.stamp ?? (await contentOf(rows, column))]),
    options: { column, parseSpecialTokens, endOfText: endToken(tokenizer, options.endOfText) ?? null },
  }
  const found = readTokens(path, made)
  if (found && (await agrees(found, rows, tokenizer, options))) {
    progress?.({ rows: rows.length, of: rows.length, tokens: found.tokens.length })
    return found
  }
  const starts = new Int32Array(rows.length)
  const { BYTES_PER_ELEMENT: width } = tokenArray(tokenizer, 0)
  using file = new AtomicFile(path)
  file.put(new Uint8Array(headSize))
  const tokens = await encodeRows(rows, tokenizer, options, starts, (piece) => file.put(piece))
  file.put(new Uint8Array(padding(tokens * width)))
  file.put(starts)
  const head: Head = { kind, type: width === 2 ? 'u16' : 'i32', tokens, documents: rows.length, ...made }
  file.putAt(0, Buffer.from(`${JSON.stringify(head).padEnd(headSize - 1)}\n`))
  file.commit()
  const written = readTokens(path, made)
  if (written === undefined) throw new FileError(path, 0, 'was changed by another program')
  return written
}

/** Undefined for no file, and for one that was made of something else or is not whole. */
function readTokens(path: string, made: object): TokenStream | undefined {
  if (!existsSync(path)) return undefined
  using source = new SourceFile(path)
  const head = readHead(source)
  const width = head.type === 'u16' ? 2 : 4
  const bytes = head.tokens * width
  const startsAt = headSize + bytes + padding(bytes)
  const wanted = JSON.stringify(made)
  const { tokenizer, source: rows, options } = head
  if (JSON.stringify({ tokenizer, source: rows, options }) !== wanted) return undefined
  if (source.size !== startsAt + 4 * head.documents) return undefined
  const { buffer } = source.read(headSize, bytes)
  return {
    tokens: width === 2 ? new Uint16Array(buffer) : new Int32Array(buffer),
    starts: new Int32Array(source.read(startsAt, 4 * head.documents).buffer),
  }
}

function readHead(source: Source): Head {
  const text = Buffer.from(source.read(0, Math.min(headSize, source.size))).toString()
  try {
    return headSchema.parse(JSON.parse(text))
  } catch {
    const way = 'Name another file for the cache, or remove this one'
    throw source.error(0, 'is no cache of tokens, or of another version; it is not overwritten', way)
  }
}

const padding = (bytes: number): number => -bytes & 3

/** How many documents are encoded again before a cache is believed. */
const samples = 8

/** Whether documents from all over the corpus are still the same tokens. */
async function agrees(
  { tokens, starts }: TokenStream,
  rows: Rows<unknown>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
): Promise<boolean> {
  if (starts.length !== rows.length) return false
  const shared = beginIsEnd(tokenizer, endToken(tokenizer, options.endOfText))
  const step = Math.max(1, Math.floor(rows.length / samples))
  for (let index = 0; index < rows.length; index += step) {
    const one: Rows<unknown> = { length: 1, at: () => rows.at(index) }
    let from = starts[index]!
    let same = true
    const compare = (piece: Uint16Array | Int32Array): void => {
      same &&= piece.every((id, at) => tokens[from + at] === id)
      from += piece.length
    }
    const { column, endOfText, parseSpecialTokens } = options
    const asked = { column, endOfText, parseSpecialTokens }
    await encodeRows(one, tokenizer, asked, new Int32Array(1), compare)
    // Alone, a document is the last, with an end of its own.
    if (shared && index < rows.length - 1) from--
    if (!same || from !== (starts[index + 1] ?? tokens.length)) return false
  }
  return true
}

function sha256(parts: Iterable<string>): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part)
  return hash.digest('hex')
}

async function contentOf(rows: Rows<unknown>, column: string): Promise<string> {
  const hash = createHash('sha256')
  for (let index = 0; index < rows.length; index++) {
    const text = textOf(await rows.at(index), column, index)
    hash.update(`${Buffer.byteLength(text)}:`).update(text)
  }
  return hash.digest('hex')
}

/** Texts that tokenizers part in different ways. */
const probes = [
  "Once upon a time, there wasn't  much:\t3.14159 and 1234567 things\r\n\n   (indented) - e.g. <|x|> \u00a0end ",
  'naïve Ａ１ ﬁ e\u0301 Straße ИЖЕ 你好，世界 こんにちは ไทย हिन्दी 😀👩‍👩‍👧 \u200b x_y camelCase f(x)=x**2;',
]

function fingerprint(tokenizer: Tokenizer): string {
  const { vocabSize, bos, eos, unk, addBos } = tokenizer
  const parts = [JSON.stringify({ vocabSize, bos, eos, unk, addBos })]
  for (let id = 0; id < vocabSize; id++) parts.push(spelling(tokenizer, id))
  for (const text of probes) {
    try {
      parts.push(tokenizer.encode(text).ids.join(' '))
    } catch {
      // A vocabulary without these characters.
      parts.push('')
    }
  }
  return sha256(parts)
}

function spelling(tokenizer: Tokenizer, id: number): string {
  try {
    return `${tokenizer.isSpecial(id) ? '*' : ''}${tokenizer.token(id)}`
  } catch {
    return ''
  }
}
