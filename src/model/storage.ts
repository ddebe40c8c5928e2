/** Tensors of a checkpoint as arrays, read when they are first used. */
import { realpathSync } from 'node:fs'
import { FileStorage, fromStorage, type Storage, type Tensor, type TypedArray } from '../array/index.ts'
import { readBytes, readFloats, type TensorEntry } from '../store/index.ts'

/** Contents converted to f32 when they are first used. */
export class ConvertedStorage implements Storage {
  readonly dtype = 'f32'
  readonly shape: readonly number[]
  /** Where the contents come from. */
  readonly entry: TensorEntry
  #data: Float32Array | undefined

  constructor(entry: TensorEntry) {
    this.shape = entry.shape
    this.entry = entry
  }

  read(): TypedArray {
    this.#data ??= readFloats(this.entry)
    return this.#data
  }

  dispose(): void {
    this.#data = undefined
  }
}

/** f32 stays in the file until somebody needs it, where it can be mapped; other types are converted. */
export function tensorOf(entry: TensorEntry): Tensor {
  if (entry.type !== 'f32') return fromStorage(new ConvertedStorage(entry))
  const file = { path: realpathSync(entry.file), offset: entry.offset, bytes: entry.bytes }
  return fromStorage(
    new FileStorage('f32', entry.shape, file, () => new Float32Array(readBytes(entry).buffer)),
  )
}
