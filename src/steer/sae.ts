/** Steering through sparse autoencoders. */
export { contrastBias, type LfOptions, lfEdits } from './biasFeatures.ts'
export { type CodeOptions, meanCode } from './codes.ts'
export { readBias, readPrototypes, writeBias, writePrototypes } from './featureFile.ts'
export { type Prototypes, prototypesOf, type SparseQueryOptions, sparseQueryEdits } from './pullFeatures.ts'
export { type ErrorMode, type FeatureChange, saeEdit } from './saeEdit.ts'
export { type ScarOptions, scarEdits } from './scaleFeature.ts'
