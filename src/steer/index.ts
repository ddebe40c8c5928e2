/** Steering: edits that move what a model writes. */
export {
  type ControlVector,
  type ControlVectorOptions,
  controlVectorEdits,
  fitControlVector,
} from './contrast.ts'
export { readControlVector, writeControlVector } from './controlVectorFile.ts'
export { type FitSteerOptions, fitWordSteer, type StanceText } from './fit.ts'
export { readWordSteer, writeWordSteer } from './lmSteerFile.ts'
export { openSteer, steerMethodOf } from './open.ts'
export { distinct, repetition } from './quality.ts'
export * from './sae.ts'
export { alongDirection, type Steer, type SteerContext } from './steer.ts'
export { measureTexts, type SweepOptions, type SweepRow, sweep, type TextQuality } from './sweep.ts'
export { embeddingMap, sharedTokens, transferSteer } from './transfer.ts'
export {
  joinSteers,
  newWordSteer,
  overModel,
  type StanceBatch,
  stanceLoss,
  type WordSteer,
  wordSteerEdits,
} from './wordSteer.ts'
