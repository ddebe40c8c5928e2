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

const ranges = {
  i8: [-128, 127],
  u8: [0, 255],
  i32: [-(2 ** 31), 2 ** 31 - 1],
  i64: [-(2 ** 63), 2 ** 63 - 1024],
} as const

/** A number as an element of an array of `dtype`. Throws where an integer type cannot hold it. */
export function encode(value: number, dtype: DType): number | bigint {
  if (dtype === 'f16') return halfWord(value)
  if (dtype === 'bf16') return brainWord(value)
  if (dtype === 'f32' || dtype === 'f64') return value
  if (dtype === 'bool') return Number(value !== 0)
  const [least, most] = ranges[dtype]
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`${value} is not a value of dtype ${dtype}; cast the array that it meets first`)
  return dtype === 'i64' ? BigInt(value) : value
}

/** The number that an element of an array of `dtype` stands for. */
export function decode(element: number | bigint, dtype: DType): number {
  const value = Number(element)
  return dtype === 'f16' ? halfValue(value) : dtype === 'bf16' ? brainValue(value) : value
}

/** The number that is left of `value` after a cast: floats round to nearest, integers are cut and wrap around. */
export function rounded(value: number, dtype: DType): number {
  if (dtype === 'i64') return Math.trunc(value)
  if (dtype === 'bool' || isFloat(dtype))
    return dtype === 'f32' ? Math.fround(value) : decode(encode(value, dtype), dtype)
  const cell = typedArray(dtype, 1)
  cell[0] = value as never
  return Number(cell[0])
}

const roundHalfEven = (x: number): number => {
  const near = Math.round(x)
  return near - x === 0.5 && near % 2 !== 0 ? near - 1 : near
}

function halfWord(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  if (Number.isNaN(size)) return 0x7e00
  if (size >= 65520) return sign | 0x7c00
  const exponent = Math.max(-14, Math.floor(Math.log2(size)))
  // A fraction that rounds up to 2048 carries into the exponent, as it should.
  return sign + (exponent + 14) * 1024 + roundHalfEven(size * 2 ** (10 - exponent))
}

function halfValue(word: number): number {
  const sign = word & 0x8000 ? -1 : 1
  const exponent = (word >> 10) & 31
  const fraction = word & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24)
}

const single = new Float32Array(1)
const word = new Uint32Array(single.buffer)

function brainWord(value: number): number {
  single[0] = value
  if (Number.isNaN(value)) return 0x7fc0
  return (word[0]! + 0x7fff + ((word[0]! >>> 16) & 1)) >>> 16
}

function brainValue(bits: number): number {
  word[0] = bits << 16
  return single[0]!
}
