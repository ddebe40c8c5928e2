/** Data for training: sources as rows by index, rows as tokens, tokens as batches by step. */
export { openText, type TextOptions } from './text.ts'
export { type TokenizeOptions, type TokenizeProgress, tokenizeCorpus } from './tokenize.ts'
export type { Batches, Row, Rows, TokenStream } from './types.ts'
