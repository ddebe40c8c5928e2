/** Values of ONNX Runtime whose memory belongs to JavaScript. */
import { bytesPerElement, type DType, type TypedArray, typedArray } from '../array/dtype.ts'
import { HostStorage, type Storage } from '../array/storage.ts'
import { addressOf, api, type Pointer } from './native.ts'
import type { OwnStorage } from './runtime.ts'

/** Vector instructions read whole cache lines. */
const alignment = 64

export function aligned(dtype: DType, shape: readonly number[]): TypedArray {
  const length = shape.reduce((a, b) => a * b, 1)
  // Not zeroed: a program writes all of it.
  const memory = Buffer.allocUnsafeSlow(length * bytesPerElement[dtype] + alignment)
  const past = Number(addressOf(memory) % BigInt(alignment))
  return typedArray(dtype, length, memory.buffer, (alignment - past) % alignment)
}

/** Host memory for a result. */
export class AlignedStorage extends HostStorage implements OwnStorage {
  static allocate(dtype: DType, shape: readonly number[]): AlignedStorage {
    return new AlignedStorage(dtype, shape, aligned(dtype, shape))
  }

  give(): OwnStorage {
    const data = this.read()
    this.dispose()
    return new AlignedStorage(this.dtype, this.shape, data)
  }
}

/** ONNX's numbers for element types. */
export const elementTypes: Readonly<Partial<Record<DType, number>>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
}

/** An OrtValue. */
export interface Value {
  readonly value: Pointer
}

/** ONNX Runtime's view of memory that JavaScript owns. */
interface View extends Value {
  /** Keeps the memory. */
  readonly data: TypedArray
}

/** A view of memory, to be released when it is no longer used. */
export function viewData(dtype: DType, shape: readonly number[], data: TypedArray): Pointer {
  const type = elementTypes[dtype]
  if (!type) throw new TypeError(`${dtype} arrays cannot be fed to a program: convert them to f32 first`)
  const sizes = BigInt64Array.from(shape, BigInt)
  return api().make(
    'CreateTensorWithDataAsOrtValue',
    api().cpuMemory,
    data,
    data.byteLength,
    sizes,
    sizes.length,
    type,
  )
}

const views = new WeakMap<Storage, View>()
const forgotten = new FinalizationRegistry<Pointer>((value) => api().call('ReleaseValue', value))

/** The view of a storage; made once, and released with the storage. */
export function viewOf(storage: Storage): View {
  const data = storage.read()
  const known = views.get(storage)
  if (known?.data === data) return known
  const value = viewData(storage.dtype, storage.shape, data)
  const view = { value, data }
  views.set(storage, view)
  forgotten.register(storage, value)
  return view
}
