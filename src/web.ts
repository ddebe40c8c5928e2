/**
 * glossa in a browser: the library without what needs files or native code. A model comes from bytes that were
 * fetched, and everything else is as in Node.
 *
 * @example
 * const engine = new Engine(await webRuntime({ provider: 'webgpu' }))
 * const model = new Model({ engine, ...loadFiles({ 'config.json': ..., 'model.safetensors': ... }) })
 */
export * from './array/index.ts'
export * from './decode/index.ts'
export * as interp from './interp/browser.ts'
export { type AdapterParams, type AdapterTree, applyAdapters, type LinearParams } from './model/adapters.ts'
export { attach } from './model/attach.ts'
export type { LoadedModel } from './model/bind.ts'
export { forward } from './model/decoder.ts'
export {
  type Edit,
  type EditFunction,
  type Edits,
  type EditWithArguments,
  joinEdits,
} from './model/edits.ts'
export { Encoder, type EncoderOptions } from './model/encoder.ts'
export { encoderSites } from './model/encoderForward.ts'
export type { EncoderParams, EncoderSpec } from './model/encoderSpec.ts'
export { loadEncoderFiles, loadFiles, loadSeq2SeqFiles, type ModelFiles } from './model/fetched.ts'
export { mergeAdapters } from './model/merge.ts'
export { Model, type ModelParts, type StepInput, type StepOutput } from './model/model.ts'
export { rotaryTables } from './model/parts/position.ts'
export { type SealOptions, seal, type WeightFormat, weightBill } from './model/seal.ts'
export { Seq2Seq } from './model/seq2seq.ts'
export { seq2seqSites } from './model/seq2seqForward.ts'
export type { Seq2SeqParams, Seq2SeqSpec } from './model/seq2seqSpec.ts'
export type { DecoderParams, DecoderSpec } from './model/spec.ts'
export { sites, type TapOptions, Taps } from './model/taps.ts'
export { type CompileOptions, Engine, type EngineOptions } from './onnx/engine.ts'
export type { Runtime } from './onnx/runtime.ts'
export { hasWebGpu, type WebRuntimeOptions, webRuntime } from './onnx/web.ts'
export * as steer from './steer/browser.ts'
export { tokenizerFromHuggingFace } from './text/load/huggingface.ts'
export type { Tokenizer } from './text/tokenizer.ts'
export * from './train/index.ts'
