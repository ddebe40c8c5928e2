/** Tensors of ONNX Runtime as contents of ours, and back. */
import type { DType, TypedArray } from '../array/dtype.ts'
import type { Storage } from '../array/storage.ts'
import type { OrtTensor, Runtime } from './runtime.ts'

const ortTypes = {
  f32: 'float32',
  f64: 'float64',
  f16: 'float16',
  i8: 'int8',
  u8: 'uint8',
  i32: 'int32',
  i64: 'int64',
  bool: 'bool',
} as const satisfies Partial<Record<DType, string>>

const dtypes = Object.fromEntries(Object.entries(ortTypes).map(([dtype, type]) => [type, dtype])) as Readonly<
  Record<string, DType>
>

/** Contents that ONNX Runtime has computed. */
export class OrtStorage implements Storage {
  readonly dtype: DType
  readonly shape: readonly number[]
  #tensor: OrtTensor | undefined

  constructor(tensor: OrtTensor) {
    const dtype = dtypes[tensor.type]
    if (!dtype) throw new TypeError(`ONNX Runtime gave a tensor of type ${tensor.type}`)
    this.dtype = dtype
    this.shape = tensor.dims
    this.#tensor = tensor
  }

  get tensor(): OrtTensor {
    if (!this.#tensor)
      throw new Error(`this ${this.dtype}[${this.shape.join(', ')}] tensor has been disposed`)
    return this.#tensor
  }

  /** Hands the memory over; this storage is disposed of. */
  give(): OrtTensor {
    const { tensor } = this
    this.#tensor = undefined
    return tensor
  }

  read(): TypedArray {
    const data = this.tensor.data as TypedArray
    // Newer JavaScript engines have a Float16Array, which ONNX Runtime then uses; we hold words.
    return this.dtype === 'f16' && !(data instanceof Uint16Array)
      ? new Uint16Array(data.buffer as ArrayBuffer, data.byteOffset, data.length)
      : data
  }

  dispose(): void {
    this.#tensor?.dispose()
    this.#tensor = undefined
  }
}

const made = new WeakMap<Storage, { data: TypedArray; tensor: OrtTensor }>()

/** The contents as an ONNX Runtime tensor over the same memory; made once. */
export function ortTensor(storage: Storage, runtime: Runtime): OrtTensor {
  if (storage instanceof OrtStorage) return storage.tensor
  const data = storage.read()
  const known = made.get(storage)
  if (known?.data === data) return known.tensor
  const type = ortTypes[storage.dtype as keyof typeof ortTypes]
  if (!type)
    throw new TypeError(`${storage.dtype} arrays cannot be fed to a program: convert them to f32 first`)
  const tensor = new runtime.Tensor(type, data as never, storage.shape) as OrtTensor
  made.set(storage, { data, tensor })
  return tensor
}
