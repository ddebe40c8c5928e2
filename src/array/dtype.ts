/** Element types. `f32` computes; `f16`, `bf16` and the small integers store. `f64` is for checking numerics. */
export type DType = 'f32' | 'f16' | 'bf16' | 'f64' | 'i8' | 'u8' | 'i32' | 'i64' | 'bool'

/** The JavaScript array that holds elements of a dtype. f16 and bf16 are raw 16-bit words; bool is 0 or 1. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | Int32Array
  | BigInt64Array

export const bytesPerElement: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  f64: 8,
  i8: 1,
  u8: 1,
  i32: 4,
  i64: 8,
  bool: 1,
}

const arrayTypes = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  f64: Float64Array,
  i8: Int8Array,
  u8: Uint8Array,
  i32: Int32Array,
  i64: BigInt64Array,
  bool: Uint8Array,
} as const

/** A zeroed array for `length` elements of `dtype`, or a view of `buffer` from `byteOffset` (not copied). */
export function typedArray(
  dtype: DType,
  length: number,
  buffer?: ArrayBufferLike,
  byteOffset?: number,
): TypedArray {
  const Type = arrayTypes[dtype]
  return buffer === undefined
    ? new Type(length)
    : (new Type(buffer as ArrayBuffer, byteOffset ?? 0, length) as TypedArray)
}

export const isFloat = (dtype: DType): boolean =>
  dtype === 'f32' || dtype === 'f64' || dtype === 'f16' || dtype === 'bf16'
export const isInteger = (dtype: DType): boolean => !isFloat(dtype) && dtype !== 'bool'
