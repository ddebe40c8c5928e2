/** Objectives: from a model and a batch to a loss. */
export { nextToken, type TokenBatch } from './nextToken.ts'
