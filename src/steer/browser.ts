/** Steering without files: what a browser gets. */

export {
  type ControlVector,
  type ControlVectorOptions,
  controlVectorEdits,
  fitControlVector,
} from './contrast.ts'
export { type FitSteerOptions, fitWordSteer, type StanceText } from './fit.ts'
export { distinct, repetition } from './quality.ts'
export { type FeatureShift, type ShiftOptions, shiftFeature } from './shiftFeature.ts'
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
