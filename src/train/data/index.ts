/** Data for training: sources as rows by index, rows as tokens, tokens as batches by step. */
export {
  type ExampleOptions,
  encodeExamples,
  type PreferenceTokens,
  preferenceTokens,
  promptTokens,
  type TrainingTokens,
  trainingTokens,
  type UnpairedTokens,
  unpairedTokens,
} from './encode.ts'
export { type Example, type Format, FormatError, formatOf, readExample } from './formats.ts'
export { openJson, openJsonLines } from './json.ts'
export { type OpenOptions, openRows, type RowsSpec } from './open.ts'
export {
  type PackedBatch,
  type PackedBatches,
  type PackedOptions,
  type PackingReport,
  packedRows,
} from './packedRows.ts'
export {
  type LabelledBatch,
  type PaddedBatch,
  type PaddedBatches,
  type PaddedOptions,
  type PairBatch,
  padded,
  paddedLabels,
  paddedPairs,
  type TokenBatch,
} from './padded.ts'
export { openParquet, type ParquetOptions } from './parquet.ts'
export { concatRows, mapRows, mix, rowsOf, shuffle, skip, split, take } from './rows.ts'
export { openTable, type TableOptions } from './table.ts'
export { openText, type TextOptions } from './text.ts'
export { type TokenizeOptions, type TokenizeProgress, tokenizeCorpus } from './tokenize.ts'
export type { Batches, Row, Rows, TokenStream } from './types.ts'
