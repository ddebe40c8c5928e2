/** Activations of a model over a corpus: streamed through a shuffling buffer, or cached on disk (`cache.ts`). */
export { normScale, sampleOf } from './scale.ts'
export { ActivationSource, type Chunk, type SourceOptions, specialTokens } from './source.ts'
export { type ActivationBatch, ActivationStream, type StreamOptions } from './stream.ts'
