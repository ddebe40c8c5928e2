/** Texts to vectors. */
export { type SentenceOptions, sentenceSchema, sentenceVectors } from './sentences.ts'
