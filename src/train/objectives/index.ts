/** Objectives: from a model and a batch to a loss. */
export { meap, meapSchema } from './meap.ts'
export { nextToken, type TokenBatch } from './nextToken.ts'
export { patchLevel, patchLevelSchema } from './patchLevel.ts'
