/** Files in and out: checkpoints in safetensors, GGUF and llama2.c's format, and where they come from. */
export { bundledModel, bundledModels } from './bundled.ts'
export {
  type Checkpoint,
  elementCount,
  FileError,
  type PlainType,
  readBytes,
  readFloats,
  type StorageType,
  type TensorEntry,
} from './checkpoint.ts'
export { dequantize, type GgmlType, ggmlBlocks } from './ggml.ts'
export { quantize } from './ggmlQuantize.ts'
export { openGguf, readGgufMetadata } from './gguf.ts'
export type { GgufPlain, GgufScalar, GgufValue } from './ggufTypes.ts'
export { writeGguf } from './ggufWrite.ts'
export { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from './half.ts'
export * from './hub/index.ts'
export { openLlama2c } from './llama2c.ts'
export { openCheckpoint } from './open.ts'
export { openSafetensors, type SafetensorsSource, writeSafetensors } from './safetensors.ts'
export { readSafetensors } from './safetensorsHeader.ts'
export { openShards } from './shards.ts'
export { MemorySource, Source } from './source.ts'
export type { TensorSource } from './write.ts'
