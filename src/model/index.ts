/** Models: the decoder, its families, its taps. */
export {
  type AdapterParams,
  type AdapterTree,
  applyAdapters,
  type LinearParams,
} from './adapters.ts'
export { attach } from './attach.ts'
export type { LoadedModel, ModuleNames } from './bind.ts'
export { convertToGguf, type GgufWeights } from './convert/toGguf.ts'
export { type Conversion, convertToHuggingFace } from './convert/toHuggingFace.ts'
export { type Cache, type ForwardInput, type ForwardOutput, forward } from './decoder.ts'
export { Encoder, type EncoderOptions, encoderSites } from './encoder.ts'
export type { EncoderParams, EncoderSpec } from './encoderSpec.ts'
export { type ExportedFiles, type ExportModelOptions, exportModel } from './export.ts'
export { load } from './load.ts'
export { mergeAdapters } from './merge.ts'
export { Model, type ModelParts, type StepInput, type StepOutput } from './model.ts'
export { type ModulePart, type ModuleSource, modulesOf } from './modules.ts'
export { type RotaryTables, rotaryTables } from './parts/position.ts'
export { type SealOptions, seal, type WeightBill, type WeightFormat, weightBill } from './seal.ts'
export { Seq2Seq, seq2seqSites } from './seq2seq.ts'
export type { Seq2SeqParams, Seq2SeqSpec } from './seq2seqSpec.ts'
export type { DecoderParams, DecoderSpec } from './spec.ts'
export { type Edit, sites, type TapOptions, Taps } from './taps.ts'
