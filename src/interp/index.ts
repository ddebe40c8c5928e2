/** Looking inside: activations of a model, and sparse autoencoders on them. */
export * from './activations/index.ts'
export * from './sae/index.ts'
