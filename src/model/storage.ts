/** Tensors of a checkpoint as arrays, read when they are first used. */
import {
  FileStorage,
  fromStorage,
  HostStorage,
  type Storage,
  type Tensor,
  type TypedArray,
} from '../array/index.ts'
import { readBytes, readFloats, type TensorEntry } from '../store/checkpoint.ts'

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
  const { shape, source, offset, bytes } = entry
  const read = () => new Float32Array(readBytes(entry).buffer)
  if (source.onDisk === undefined) return fromStorage(new HostStorage('f32', shape, read()))
  return fromStorage(new FileStorage('f32', shape, { path: source.onDisk, offset, bytes }, read))
}
