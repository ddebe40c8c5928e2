/** Steering: edits that move what a model writes. */
export * from './browser.ts'
export { readControlVector, writeControlVector } from './controlVectorFile.ts'
export { readWordSteer, writeWordSteer } from './lmSteerFile.ts'
export { openSteer, steerMethodOf } from './open.ts'
export * from './sae.ts'
