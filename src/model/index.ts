/** Models: the decoder, its families, its taps. */

export {
  type AdapterParams,
  type AdapterTree,
  applyAdapters,
  type LinearParams,
} from './adapters.ts'
export { haarAverages, waveletGpt } from './architectures/waveletGpt.ts'
export { attach } from './attach.ts'
export type { LoadedModel, ModuleNames } from './bind.ts'
export {
  type AttentionCache,
  type Cache,
  cacheAxes,
  grownCache,
  type LayerCache,
  remembersEvery,
  type StateCache,
} from './cache.ts'
export { convertToGguf, type GgufWeights } from './convert/toGguf.ts'
export { type Conversion, convertToHuggingFace } from './convert/toHuggingFace.ts'
export { type ForwardInput, type ForwardOutput, forward, unembed } from './decoder.ts'
export { type Edit, type EditFunction, type Edits, type EditWithArguments, joinEdits } from './edits.ts'
export { Encoder, type EncoderOptions } from './encoder.ts'
export { type EncoderInput, encodeForward, encoderSites } from './encoderForward.ts'
export type { EncoderParams, EncoderSpec } from './encoderSpec.ts'
export { type ExportedFiles, type ExportModelOptions, exportModel } from './export/exportModel.ts'
export type { CacheForm } from './export/signature.ts'
export { exportFolder, type FolderOptions } from './export/transformersJs.ts'
export { architectures as ggufArchitectures } from './families/ggufArchitectures.ts'
export type { ModelKind } from './families/kinds.ts'
export { load } from './load.ts'
export { kindOf, loadEncoder, loadSeq2Seq } from './loadEncoder.ts'
export { mergeAdapters } from './merge.ts'
export { Model, type ModelParts, type OwnProgram, type StepInput, type StepOutput } from './model.ts'
export { type ModulePart, type ModuleSource, modulesOf } from './modules.ts'
export { type RotaryTables, rotaryTables } from './parts/position.ts'
export type { Pass } from './pass.ts'
export type { TokenRows } from './programs.ts'
export { type SealOptions, seal, type WeightBill, type WeightFormat, weightBill } from './seal.ts'
export { Seq2Seq } from './seq2seq.ts'
export { type Seq2SeqInput, seq2seqForward, seq2seqSites, type TargetInput } from './seq2seqForward.ts'
export type { Seq2SeqParams, Seq2SeqSpec } from './seq2seqSpec.ts'
export type { DecoderParams, DecoderSpec } from './spec.ts'
export { sites, type TapOptions, Taps } from './taps.ts'
