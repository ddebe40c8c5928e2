/** Models: the decoder, its families, its taps. */

export type { LoadedModel } from './bind.ts'
export { type Cache, type ForwardInput, type ForwardOutput, forward } from './decoder.ts'
export { type ExportedFiles, type ExportModelOptions, exportModel } from './export.ts'
export { load } from './load.ts'
export { Model, type ModelParts, type StepInput, type StepOutput } from './model.ts'
export { type RotaryTable, rotaryTable } from './parts/position.ts'
export { type SealOptions, seal, type WeightBill, type WeightFormat, weightBill } from './seal.ts'
export type { DecoderParams, DecoderSpec } from './spec.ts'
export { type Edit, sites, type TapOptions, Taps } from './taps.ts'
