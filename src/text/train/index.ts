/** Training of tokenizers. */
export { type BpeTrainingOptions, bpeTrainingSchema, trainBpe } from './bpe.ts'
export type { TrainingHooks, TrainingProgress } from './options.ts'
export { type TokenizerJson, tokenizerConfig } from './tokenizerJson.ts'
export { trainUnigram, type UnigramTrainingOptions, unigramTrainingSchema } from './unigram.ts'
export { trainWordPiece, type WordPieceTrainingOptions, wordPieceTrainingSchema } from './wordPiece.ts'
