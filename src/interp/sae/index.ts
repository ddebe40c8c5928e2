/** Sparse autoencoders: training, use, metrics. What works on files is in `files/` and `train.ts`. */
export {
  type Architecture,
  architecture,
  type Forward,
  type SaeBatch,
  type Surroundings,
  type TrainedParams,
} from './architecture.ts'
export { architectures, type ChosenArchitecture, makeArchitecture } from './architectures/index.ts'
export {
  densityHistogram,
  type EvaluateOptions,
  type Evaluation,
  evaluateSae,
  type SaeMetrics,
} from './evaluate.ts'
export {
  type Context,
  type ContextOptions,
  type FeatureContexts,
  topContexts,
} from './features.ts'
export { type NamedSae, SaeGroup, type SaeGroupOptions, type SaeMember } from './group.ts'
export {
  amad,
  angularDistances,
  type Distances,
  type Groups,
  layerGroups,
} from './layerGroups.ts'
export { type LogitEffects, logitEffects } from './logitEffects.ts'
export { type SaeMemory, type SaeObjectiveOptions, type SaeRows, saeObjective } from './objective.ts'
export {
  decode,
  encode,
  foldScale,
  reconstruct,
  type Sae,
  type SaeConfig,
  type SaeParams,
  saeEdits,
} from './sae.ts'
export { type Matching, matchRows, matchSaes, type Stability, sharedThreshold, shareOf } from './stability.ts'
export { geometricMedian, type SaeSizes, startParams } from './start.ts'
export { unitNormDecoder } from './unitNorm.ts'
