import { describe, expect, test } from 'vitest'
import { bf16ToF32, f16ToF32, f16Values, f16Word, f32ToBf16, f32ToF16 } from './half.ts'

const words = Uint16Array.from({ length: 0x10000 }, (_, word) => word)
const same = (a: Uint16Array, b: Uint16Array) => Buffer.from(a.buffer).equals(Buffer.from(b.buffer))
const bits = (values: Float32Array) => new Uint32Array(values.buffer)

/** Value of a 16-bit float by its definition. */
function value(word: number, exponentBits: number): number {
  const fractionBits = 15 - exponentBits
  const bias = 2 ** (exponentBits - 1) - 1
  const exponent = (word & 0x7fff) >> fractionBits
  const fraction = (word & (2 ** fractionBits - 1)) / 2 ** fractionBits
  const sign = word >> 15 ? -1 : 1
  if (exponent === 2 * bias + 1) return fraction === 0 ? sign * Infinity : Number.NaN
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias))
}

describe.each([
  { name: 'f16', exponentBits: 5, widen: f16ToF32, narrow: f32ToF16 },
  { name: 'bf16', exponentBits: 8, widen: bf16ToF32, narrow: f32ToBf16 },
])('$name', ({ exponentBits, widen, narrow }) => {
  const infinity = (2 ** exponentBits - 1) << (15 - exponentBits)

  test('widens every word to the value that defines it, zeros with their sign', () => {
    const widened = widen(words)
    let wrong = 0
    for (const word of words) if (!Object.is(widened[word], value(word, exponentBits))) wrong++
    expect(wrong).toBe(0)
  })

  test('narrows every word back to itself, NaNs made quiet', () => {
    const quiet = 1 << (14 - exponentBits)
    const expected = words.map((word) => ((word & 0x7fff) > infinity ? word | quiet : word))
    expect(same(narrow(widen(words)), expected)).toBe(true)
  })

  // Rounding is monotonic, so it is right everywhere if it is right on both sides of, and at, every midpoint.
  test('rounds to nearest, ties to even, at every midpoint; above the largest value is infinity', () => {
    const count = infinity
    const values = new Float32Array(3 * count)
    const valueBits = bits(values)
    const expected = new Uint16Array(3 * count)
    const ulp = 2 ** (2 ** (exponentBits - 1) - 1 - (15 - exponentBits))
    for (let word = 0; word < count; word++) {
      const low = value(word, exponentBits)
      const high = word + 1 === infinity ? low + ulp : value(word + 1, exponentBits)
      values.fill((low + high) / 2, 3 * word, 3 * word + 3)
      valueBits[3 * word]! -= 1
      valueBits[3 * word + 2]! += 1
      expected.set([word, word + (word & 1), word + 1], 3 * word)
    }
    expect(same(narrow(values), expected)).toBe(true)
    const negative = narrow(values.map((positive) => -positive))
    expect(
      same(
        negative,
        expected.map((word) => word | 0x8000),
      ),
    ).toBe(true)
  })

  test('a NaN whose payload lies in the lost bits stays a NaN', () => {
    const nan = new Float32Array(new Uint32Array([0x7f800001, 0xff800001]).buffer)
    expect([...widen(narrow(nan))]).toEqual([Number.NaN, Number.NaN])
  })

  test('respects the view it is given', () => {
    expect([...widen(words.subarray(3, 5))]).toEqual([value(3, exponentBits), value(4, exponentBits)])
    expect([...narrow(Float32Array.of(1, 2, 4).subarray(1))]).toEqual([...narrow(Float32Array.of(2, 4))])
  })
})

test('f16Word rounds a number to f32 first', () => {
  expect(f16Word(1)).toBe(0x3c00)
  expect(f16Word(1e9)).toBe(0x7c00)
  expect(f16Values[f16Word(-0.333251953125)]).toBe(-0.333251953125)
})
