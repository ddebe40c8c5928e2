/** The encoding of a corpus, document after document, in pieces of bounded memory. */
import type { Tokenizer } from '../../text/index.ts'
import type { Rows } from './types.ts'

export interface TokenizeOptions {
  /** Which column of a row is its text (default `text`); rows can be strings as well. */
  readonly column?: string
  /** The token behind each document: the tokenizer's `eos` if nothing is said, none for null. */
  readonly endOfText?: number | null
  /** Read special tokens spelled out in the text as those tokens (default false: a text cannot forge them). */
  readonly parseSpecialTokens?: boolean
  /** Called about five times a second, and at the end. */
  readonly progress?: (progress: TokenizeProgress) => void
  readonly signal?: AbortSignal
  /** A file that keeps the result, and gives it back as long as rows, tokenizer and options are the same. */
  readonly cache?: string
}

export interface TokenizeProgress {
  readonly rows: number
  readonly of: number
  readonly tokens: number
}

const progressMs = 200
const pieceSize = 2 ** 20

/** An array wide enough for the ids of a vocabulary. */
export const tokenArray = (
  tokenizer: Tokenizer,
  length: number,
): Uint16Array<ArrayBuffer> | Int32Array<ArrayBuffer> =>
  tokenizer.vocabSize <= 65536 ? new Uint16Array(length) : new Int32Array(length)

/** Encodes into `starts` and, piece after piece of memory used again, to `put`; gives the count of tokens. */
export async function encodeRows(
  rows: Rows<unknown>,
  tokenizer: Tokenizer,
  options: TokenizeOptions,
  starts: Int32Array,
  put: (piece: Uint16Array | Int32Array) => void,
): Promise<number> {
  const { column = 'text', parseSpecialTokens = false, progress, signal } = options
  const end = endToken(tokenizer, options.endOfText)
  const shared = beginIsEnd(tokenizer, end)
  const piece = tokenArray(tokenizer, pieceSize)
  let filled = 0
  let total = 0
  const append = (id: number): void => {
    piece[filled++] = id
    total++
    if (filled < pieceSize) return
    put(piece)
    filled = 0
  }
  let told = performance.now()
  for (let index = 0; index < rows.length; index++) {
    starts[index] = total
    const { ids } = tokenizer.encode(textOf(await rows.at(index), column, index), { parseSpecialTokens })
    if (total + ids.length >= 2 ** 31)
      throw new RangeError(`row ${index}: a stream holds fewer than 2^31 tokens`)
    for (const id of ids) append(id)
    const ended = ids.at(-1) === end || (shared && index < rows.length - 1)
    if (end !== undefined && !ended) append(end)
    if (performance.now() - told < progressMs) continue
    progress?.({ rows: index + 1, of: rows.length, tokens: total })
    // Lets Ctrl-C and timers in.
    await new Promise((resolve) => setImmediate(resolve))
    signal?.throwIfAborted()
    told = performance.now()
  }
  put(piece.subarray(0, filled))
  progress?.({ rows: rows.length, of: rows.length, tokens: total })
  return total
}

/** What ends a document: what was asked for, or the tokenizer's own. */
export function endToken(tokenizer: Tokenizer, asked: number | null | undefined): number | undefined {
  if (asked === null) return undefined
  const end = asked ?? tokenizer.eos
  if (end === undefined)
    throw new Error('the tokenizer has no end-of-text token: name one with endOfText, or say null for none')
  if (!Number.isInteger(end) || end < 0 || end >= tokenizer.vocabSize)
    throw new RangeError(`endOfText ${end} is outside the vocabulary of ${tokenizer.vocabSize}`)
  return end
}

/**
 * Whether one token begins and ends documents, as in GPT-2's kind of vocabulary. In a stream it then stands once
 * between two: doubled, a model would learn that after the token that begins a text the text may end.
 */
export const beginIsEnd = ({ addBos, bos }: Tokenizer, end: number | undefined): boolean =>
  end !== undefined && addBos && bos === end

/** The text of a row. */
export function textOf(row: unknown, column: string, index: number): string {
  if (typeof row === 'string') return row
  const text = typeof row === 'object' && row !== null ? (row as Record<string, unknown>)[column] : undefined
  if (typeof text === 'string') return text
  const keys = typeof row === 'object' && row !== null ? Object.keys(row).join(', ') : typeof row
  throw new Error(`row ${index} has no text in '${column}'; it has: ${keys || 'nothing'}. Name the column`)
}
