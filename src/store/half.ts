/**
 * The two 16-bit floats, to and from f32, one value per `Uint16Array` word.
 *
 *   f16   1 sign, 5 exponent (bias 15), 10 fraction bits; IEEE 754 binary16
 *   bf16  1 sign, 8 exponent (bias 127), 7 fraction bits; the upper half of an f32
 *
 * Widening is exact, bit for bit, NaN payloads included. Narrowing rounds to nearest, ties to even; what is
 * too large becomes infinity; a NaN stays a NaN, made quiet, with the upper part of its payload.
 */

const bits = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length)

/** Every f16 as an f32, indexed by its word: 256 KiB, faster than any arithmetic. */
export const f16Values = new Float32Array(0x10000)
const f16Bits = bits(f16Values)
for (let word = 0; word < 0x8000; word++) {
  const exponent = word >> 10
  const fraction = word & 0x3ff
  if (exponent === 0) f16Values[word] = fraction * 2 ** -24
  else f16Bits[word] = ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13)
  f16Bits[word | 0x8000] = f16Bits[word]! | 0x80000000
}

const scratch = new Float32Array(1)
const scratchBits = bits(scratch)

/** The f16 word nearest to the f32 with these bits. */
function narrow(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= 0x38800000) {
    if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff)
    if (magnitude >= 0x47800000) return sign | 0x7c00
    // Normal: rounding may carry into the exponent, and from 65504 on into infinity, which is right.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  // Subnormal: f32 at 0.5 has the spacing of subnormal f16, 2^-24, so storing the sum rounds as wanted.
  scratchBits[0] = magnitude
  scratch[0] = scratch[0]! + 0.5
  return sign | (scratchBits[0]! - 0x3f000000)
}

/** The f16 word nearest to a number, which is first rounded to f32. */
export function f16Word(value: number): number {
  scratch[0] = value
  return narrow(scratchBits[0]!)
}

export function f16ToF32(words: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(words.length)
  const out = bits(values)
  for (let i = 0; i < words.length; i++) out[i] = f16Bits[words[i]!]!
  return values
}

export function f32ToF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint16Array(values.length)
  const source = bits(values)
  for (let i = 0; i < words.length; i++) words[i] = narrow(source[i]!)
  return words
}

export function bf16ToF32(words: Uint16Array): Float32Array<ArrayBuffer> {
  const values = new Float32Array(words.length)
  const out = bits(values)
  for (let i = 0; i < words.length; i++) out[i] = words[i]! << 16
  return values
}

export function f32ToBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const words = new Uint16Array(values.length)
  const source = bits(values)
  for (let i = 0; i < words.length; i++) {
    const value = source[i]!
    const nan = (value & 0x7fffffff) > 0x7f800000
    words[i] = nan ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
  return words
}
