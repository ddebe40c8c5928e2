/** Concrete contents of a tensor: in memory, in a file that nobody has read yet, or on a device. */
import { bytesPerElement, type DType, type TypedArray, typedArray } from './dtype.ts'

/** Bytes of a file, little-endian and row-major, in the tensor's dtype. */
export interface FileRange {
  readonly path: string
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly bytes: number
}

export interface Storage {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Set where the contents are bytes of a file: a compiled program may map it instead of copying. */
  readonly file?: FileRange
  /** The elements in host memory; read or copied there on the first call, then kept. */
  read(): TypedArray
  /** Brings contents that are on a device to host memory, where `read` finds them until they are written again. */
  load?(): Promise<void>
  dispose(): void
}

export class HostStorage implements Storage {
  readonly dtype: DType
  readonly shape: readonly number[]
  #data: TypedArray | undefined

  constructor(dtype: DType, shape: readonly number[], data: TypedArray) {
    const size = shape.reduce((a, b) => a * b, 1)
    if (data.length !== size)
      throw new RangeError(`${data.length} elements do not fill the shape [${shape.join(', ')}]`)
    const expected = typedArray(dtype, 0)
    if (data.constructor !== expected.constructor)
      throw new TypeError(
        `dtype ${dtype} is held in ${expected.constructor.name}, got ${data.constructor.name}`,
      )
    this.dtype = dtype
    this.shape = shape
    this.#data = data
  }

  read(): TypedArray {
    if (!this.#data) throw new Error(`this ${this.dtype}[${this.shape.join(', ')}] tensor has been disposed`)
    return this.#data
  }

  dispose(): void {
    this.#data = undefined
  }
}

/** Contents that stay in a file until they are needed in memory. */
export class FileStorage implements Storage {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly file: FileRange
  readonly #load: () => TypedArray
  #data: TypedArray | undefined

  constructor(dtype: DType, shape: readonly number[], file: FileRange, load: () => TypedArray) {
    const size = shape.reduce((a, b) => a * b, 1) * bytesPerElement[dtype]
    if (file.bytes !== size)
      throw new RangeError(`${file.path}: ${file.bytes} bytes do not fill ${dtype}[${shape.join(', ')}]`)
    this.dtype = dtype
    this.shape = shape
    this.file = file
    this.#load = load
  }

  read(): TypedArray {
    this.#data ??= this.#load()
    return this.#data
  }

  /** Drops the copy in memory; the file can be read again. */
  dispose(): void {
    this.#data = undefined
  }
}
