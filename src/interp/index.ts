/** Looking inside: lenses, patching, attribution, attention patterns; activations, and sparse autoencoders on them. */
export * from './activations/index.ts'
export { assignment } from './assignment.ts'
export {
  attentionPatterns,
  type HeadPattern,
  type HeadScores,
  headScores,
  type RepetitionOptions,
  type RepetitionScores,
  repetitionScores,
} from './attention.ts'
export { type AttributeOptions, type Attribution, attribute, type Contribution } from './attribute.ts'
export {
  BackwardLens,
  type BackwardPass,
  type Factors,
  forwardShift,
  gradientNorm,
  gradientOf,
  gradientStep,
  type Projection,
  type ShiftOptions,
} from './backwardLens.ts'
export {
  type Agreement,
  agreement,
  blocksAt,
  type ExitOptions,
  type ExitResult,
  earlyExit,
} from './earlyExit.ts'
export {
  type Lens,
  type LensCell,
  type LensKind,
  type LensOptions,
  LensReader,
  LensReading,
  lensKinds,
  logitLens,
  type Translator,
  translate,
} from './lens.ts'
export { readLens, writeLens } from './lensFiles.ts'
export {
  fitShortcuts,
  type Pair,
  r2,
  type ShortcutOptions,
  StreamMoments,
  shortcut,
  shortcutLens,
  streamMoments,
  toLast,
} from './linearShortcut.ts'
export { areaUnderCurve, fitProbe, type Probe, type ProbeOptions } from './logistic.ts'
export {
  type Law,
  type LawOptions,
  lawOf,
  lawOfMoments,
  layerMoments,
  type NextTokenLaw,
  nextTokenLaw,
} from './nextTokenLaw.ts'
export {
  type Direction,
  type PatchBy,
  type PatchCell,
  Patcher,
  type PatchGrid,
  type PatchMetrics,
  type PatchOptions,
  type PatchPrompts,
  patchGrid,
} from './patch.ts'
export * as explain from './sae/explain/index.ts'
export * from './sae/index.ts'
export { clusterValues, type Known, SaturationRule, saturationLayers } from './saturation.ts'
export { readOut, streamSites } from './streams.ts'
export { type TunedLensOptions, type TunedStep, trainTunedLens, tunedLensObjective } from './tunedLens.ts'
export {
  conceptTokens,
  type FeedForwardReading,
  turnOn,
  type ValueVector,
  ValueVectors,
} from './valueVectors.ts'
