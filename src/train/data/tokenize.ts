/** A corpus as tokens: every document encoded once, its end marked, all of them in one row. */
import type { Tokenizer } from '../../text/index.ts'
import { encodeRows, type TokenizeOptions, tokenArray } from './encodeRows.ts'
import { cachedTokens } from './tokenCache.ts'
import type { Rows, TokenStream } from './types.ts'

export type { TokenizeOptions, TokenizeProgress } from './encodeRows.ts'

/**
 * Encodes all rows, in order. Each document gets the special tokens that `encode` adds (`<s>` where a model has it)
 * and the end of text, if it does not end so already; where both are one token, it stands once between two. 2 bytes a token up to 65,536 tokens, else 4; no more than
 * 2^31 - 1 tokens. An error says which row has no text.
 */
export async function tokenizeCorpus(
  rows: Rows<unknown>,
  tokenizer: Tokenizer,
  options: TokenizeOptions = {},
): Promise<TokenStream> {
  if (options.cache !== undefined) return cachedTokens(options.cache, rows, tokenizer, options)
  const pieces: (Uint16Array | Int32Array)[] = []
  const starts = new Int32Array(rows.length)
  const total = await encodeRows(rows, tokenizer, options, starts, (piece) => pieces.push(piece.slice()))
  const tokens = tokenArray(tokenizer, total)
  let at = 0
  for (const piece of pieces) {
    tokens.set(piece, at)
    at += piece.length
  }
  return { tokens, starts }
}
