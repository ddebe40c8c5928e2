import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { readBytes, readFloats } from './checkpoint.ts'
import { dequantize, type GgmlType, ggmlBlocks } from './ggml.ts'
import { quantize } from './ggmlQuantize.ts'
import { openGguf } from './gguf.ts'

const one = [0x00, 0x3c] // f16 1
const two = [0x00, 0x40]
const half = [0x00, 0x38]
const block = (size: number, ...parts: [at: number, bytes: number[]][]): Uint8Array => {
  const bytes = new Uint8Array(size)
  for (const [at, part] of parts) bytes.set(part, at)
  return bytes
}

describe('blocks made by hand', () => {
  test('q4_0: d (q - 8), low nibbles first', () => {
    // d = 2; byte 0 = 0xf0: weight 0 is 2 (0 - 8) = -16, weight 16 is 2 (15 - 8) = 14; all others 2 (0 - 8)
    const weights = dequantize('q4_0', block(18, [0, two], [2, [0xf0]]), 32)
    expect(weights[0]).toBe(-16)
    expect(weights[16]).toBe(14)
    expect(weights[1]).toBe(-16)
  })

  test('q4_1: d q + m', () => {
    // d = 2, m = 0.5; byte 15 = 0x9a: weight 15 is 2 * 10 + 0.5, weight 31 is 2 * 9 + 0.5
    const weights = dequantize('q4_1', block(20, [0, two], [2, half], [19, [0x9a]]), 32)
    expect([weights[0], weights[15], weights[31]]).toEqual([0.5, 20.5, 18.5])
  })

  test('q8_0: d q, signed', () => {
    const weights = dequantize('q8_0', block(34, [0, half], [2, [127, 128, 255]]), 32)
    expect([...weights.subarray(0, 4)]).toEqual([63.5, -64, -0.5, 0])
  })

  test('q4_k: d scale q - dmin minimum; groups 4 to 7 have split scales', () => {
    // Group 1: scale 5 (byte 1), minimum 3 (byte 5); its nibbles are the upper ones of bytes 0-31: q = 7.
    // 1 * 5 * 7 - 0.5 * 3 = 33.5
    // Group 6: scale = low bits 9 (byte 10) + high bits 2 (top of byte 2) << 4 = 41,
    //          minimum = 4 (byte 10, upper) + 1 << 4 (top of byte 6) = 20; lower nibble of byte 127: q = 2.
    // 1 * 41 * 2 - 0.5 * 20 = 72
    const scales = [0, 5, 0b10_000000, 0, 0, 3, 0b01_000000, 0, 0, 0, 0x49, 0]
    const bytes = block(144, [0, one], [2, half], [4, scales], [16, [0x70]], [16 + 96 + 31, [0x02]])
    const weights = dequantize('q4_k', bytes, 256)
    expect(weights[32]).toBe(33.5)
    expect(weights[33]).toBe(-1.5)
    expect(weights[6 * 32 + 31]).toBe(72)
    expect(weights[6 * 32]).toBe(-10)
  })

  test('q6_k: d scale (q - 32); six bits from a nibble and a pair', () => {
    // Weight 128 + 96 + 17 is in the second half, run 3, group 15: upper nibble of byte 113 (here 0xb),
    // pair at bit 6 of high byte 32 + 17 (here 2): q = 0xb + 2 * 16 = 43. d = 0.5, scale = -4: -2 * 11 = -22
    const bytes = block(210, [64 + 32 + 17, [0xb0]], [128 + 32 + 17, [0x80]], [192 + 15, [252]], [208, half])
    const weights = dequantize('q6_k', bytes, 256)
    expect(weights[241]).toBe(-22)
    expect(weights[240]).toBe(64) // q = 0: -2 * -32
    expect(weights[0]).toBe(-0) // scale 0
  })

  test('q5_0: d (q - 16), the fifth bits before the nibbles', () => {
    // d = 2; bit 17 of the high bits is bit 1 of byte 4; weight 17 has the upper nibble of byte 7, here 3:
    // 2 (3 + 16 - 16) = 6
    const weights = dequantize('q5_0', block(22, [0, two], [4, [0b10]], [7, [0x30]]), 32)
    expect([weights[17], weights[1], weights[18]]).toEqual([6, -32, -32])
  })

  test('q3_k: d (scale - 32) (q - 4)', () => {
    // Weight 100 is in group 6: the low bits of its scale are the lower nibble of byte 102, here 5, the high
    // ones bits 2 and 3 of byte 106, here 2: 5 + 32 - 32 = 5. Its pair is bits 6 and 7 of byte 32 + 4, here 3;
    // its high bit is bit 3 of byte 4: 1 * 5 * (3 + 4 - 4) = 15. Without that bit 5 * (3 - 4) = -5
    const rest: [number, number[]][] = [
      [36, [0xc0]],
      [102, [5]],
      [106, [0b1000]],
      [108, one],
    ]
    expect(dequantize('q3_k', block(110, [4, [8]], ...rest), 256)[100]).toBe(15)
    expect(dequantize('q3_k', block(110, ...rest), 256)[100]).toBe(-5)
  })

  test('q8_k: an f32 scale', () => {
    const d = [...new Uint8Array(Float32Array.of(0.1).buffer)]
    const weights = dequantize('q8_k', block(292, [0, d], [4 + 255, [253]]), 256)
    expect(weights[255]).toBe(Math.fround(-3 * Math.fround(0.1)))
  })

  test('iq4_nl and mxfp4: nibbles are indices of a table', () => {
    // Weights 0 and 16: nibbles 0 and 15 are -127 and 113
    const nonlinear = dequantize('iq4_nl', block(18, [0, half], [2, [0xf0]]), 32)
    expect([nonlinear[0], nonlinear[16]]).toEqual([-63.5, 56.5])
    // Exponent 128 is 2; nibble 3 is 1.5 and 9 is -0.5 in E2M1
    const micro = dequantize('mxfp4', block(17, [0, [128]], [1, [0x93]]), 32)
    expect([micro[0], micro[16], micro[1]]).toEqual([3, -1, 0])
  })

  test('tq1_0 and tq2_0: -d, 0 or d', () => {
    // 0.20112 in base 3 is 176 / 243; a byte holds it as ceil(256 * 176 / 243) = 186. Its digits are those of
    // weights 0, 32, 64, 96, 128.
    const five = dequantize('tq1_0', block(54, [0, [186]], [52, two]), 256)
    expect([0, 32, 64, 96, 128].map((i) => five[i])).toEqual([2, -2, 0, 0, 2])
    // 0b10_00_01_10: weights 0, 32, 64, 96
    const four = dequantize('tq2_0', block(66, [0, [0b10_00_01_10]], [64, two]), 256)
    expect([0, 32, 64, 96].map((i) => four[i])).toEqual([2, 0, -2, 2])
  })

  test('bytes that are not whole blocks are refused', () => {
    expect(() => dequantize('q8_0', new Uint8Array(33), 32)).toThrow('32 weights of q8_0 are not 33 bytes')
    expect(() => dequantize('q4_k', new Uint8Array(18), 32)).toThrow(RangeError)
    expect(() => quantize('q8_0', new Float32Array(33))).toThrow('not whole blocks')
  })
})

describe('quantize', () => {
  test('q4_0: the value of largest magnitude becomes exactly -8 d', () => {
    // d = 4 / -8 = -0.5; 4 -> -8 (q 0); 1 -> -2 (q 6); -1 -> 2 (q 10); -4 -> 8, cut to 7 (q 15)
    const bytes = quantize('q4_0', Float32Array.of(4, 1, -1, -4, ...new Array(28).fill(0)))
    expect([...bytes.subarray(0, 7)]).toEqual([0x00, 0xb8, 0x80, 0x86, 0x8a, 0x8f, 0x88])
  })

  test('q8_0: halves go away from zero', () => {
    // d = 127 / 127 = 1
    const bytes = quantize('q8_0', Float32Array.of(127, 0.5, -0.5, 1.49, -2.5, ...new Array(27).fill(0)))
    expect([...new Int8Array(bytes.buffer, 2, 6)]).toEqual([127, 1, -1, 1, -3, 0])
  })

  test.each([Number.NaN, Infinity, -3e38])('refuses %d', (bad) => {
    const values = new Float32Array(64)
    values[40] = bad
    for (const type of ['q4_0', 'q8_0'] as const)
      expect(() => quantize(type, values)).toThrow(`values 32 to 63 are not finite or too large for ${type}`)
  })
})

describe("the gguf package's numbers (test/fixtures/store/make.py)", () => {
  const { tensors } = openGguf(fileURLToPath(new URL('../../test/fixtures/store/ggml.gguf', import.meta.url)))
  const get = (name: string) => tensors.get(name)!

  test.each(Object.keys(ggmlBlocks))('%s is read bit for bit', (name) => {
    expect(get(name).type).toBe(name)
    expect(readFloats(get(name))).toEqual(readFloats(get(`${name}.expected`)))
  })

  test.each(['f16', 'bf16'])('%s is read bit for bit', (name) => {
    expect(readFloats(get(name))).toEqual(readFloats(get(`${name}.expected`)))
  })

  test.each(['q4_0', 'q8_0'] satisfies GgmlType[])('%s is written bit for bit', (type) => {
    expect(quantize(type, readFloats(get('values')))).toEqual(readBytes(get(type)))
  })
})
