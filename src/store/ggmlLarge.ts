/**
 * GGML's blocks of 256 weights.
 *
 *   q2_k   16 scales and minima of 4 bits, 64 bytes of pairs,       w = d * scale * q - dmin * minimum
 *          f16 d, f16 dmin
 *   q3_k   32 bytes of high bits, 64 bytes of pairs,                w = d * (scale - 32) * (q - 4)
 *          16 scales of 6 bits, f16 d
 *   q4_k   f16 d, f16 dmin, 8 scales and 8 minima of 6 bits,        w = d * scale * q - dmin * minimum
 *          128 bytes of nibbles
 *   q5_k   as q4_k, 32 bytes of high bits before the nibbles
 *   q6_k   128 bytes of nibbles, 64 bytes of high pairs,            w = d * scale * (q - 32)
 *          16 int8 scales, f16 d
 *   q8_k   f32 d, 256 int8, 16 int16 sums that are not needed here  w = d * q
 *   tq1_0  52 bytes of 5 or 4 ternary digits, f16 d                 w = d * (q - 1)
 *   tq2_0  64 bytes of pairs, f16 d                                 w = d * (q - 1)
 *
 * Pairs lie in two halves of 32 bytes: those of weight 32 r + i of a half are bits 2r and 2r + 1 of byte i.
 */
import type { BlockFormat } from './ggml.ts'
import { f16, int8 } from './ggmlSmall.ts'

export const large = {
  q2_k: {
    weights: 256,
    bytes: 84,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at + 80)
      const dmin = f16(bytes, at + 82)
      for (let group = 0; group < 16; group++) {
        const both = bytes[at + group]!
        const scale = d * (both & 15)
        const minimum = dmin * (both >> 4)
        const start = 16 * group
        for (let i = start; i < start + 16; i++) out[to + i] = scale * pair(bytes, at + 16, i) - minimum
      }
    },
  },
  q3_k: {
    weights: 256,
    bytes: 110,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at + 108)
      for (let group = 0; group < 16; group++) {
        // Four low bits in the nibbles of 8 bytes, as in small blocks; two high ones as pairs of 4 bytes.
        const low = (bytes[at + 96 + (group & 7)]! >> (4 * (group >> 3))) & 15
        const high = (bytes[at + 104 + (group & 3)]! >> (2 * (group >> 2))) & 3
        const scale = d * ((low | (high << 4)) - 32)
        const start = 16 * group
        for (let i = start; i < start + 16; i++) {
          const q = pair(bytes, at + 32, i) | (bit(bytes, at, i) << 2)
          out[to + i] = scale * (q - 4)
        }
      }
    },
  },
  q4_k: {
    weights: 256,
    bytes: 144,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      const dmin = f16(bytes, at + 2)
      for (let group = 0; group < 8; group++) {
        const scale = d * scaleOf(bytes, at + 4, group)
        const minimum = dmin * minimumOf(bytes, at + 4, group)
        const start = 32 * group
        for (let i = start; i < start + 32; i++) out[to + i] = scale * nibble(bytes, at + 16, i) - minimum
      }
    },
  },
  q5_k: {
    weights: 256,
    bytes: 176,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      const dmin = f16(bytes, at + 2)
      for (let group = 0; group < 8; group++) {
        const scale = d * scaleOf(bytes, at + 4, group)
        const minimum = dmin * minimumOf(bytes, at + 4, group)
        const start = 32 * group
        for (let i = start; i < start + 32; i++) {
          const q = nibble(bytes, at + 48, i) | (bit(bytes, at + 16, i) << 4)
          out[to + i] = scale * q - minimum
        }
      }
    },
  },
  q6_k: {
    weights: 256,
    bytes: 210,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at + 208)
      for (let group = 0; group < 16; group++) {
        // Halves of 128 weights: four runs of 32 (two groups each) take low nibbles from bytes 0-31, 32-63 and
        // again 0-31, 32-63 (upper nibbles), and their high pairs from the same 32 bytes at bit 0, 2, 4, 6.
        // Written out, since these files are common: it is twice as fast.
        const half = group >> 3
        const run = (group >> 1) & 3
        const scale = d * int8(bytes[at + 192 + group]!)
        const low = at + 64 * half + 32 * (run & 1) + 16 * (group & 1)
        const high = at + 128 + 32 * half + 16 * (group & 1)
        const lowShift = 4 * (run >> 1)
        const highShift = 2 * run
        const start = to + 16 * group
        for (let i = 0; i < 16; i++) {
          const q = ((bytes[low + i]! >> lowShift) & 15) | (((bytes[high + i]! >> highShift) & 3) << 4)
          out[start + i] = scale * (q - 32)
        }
      }
    },
  },
  q8_k: {
    weights: 256,
    bytes: 292,
    unpack(bytes, at, out, to) {
      const d = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getFloat32(0, true)
      for (let i = 0; i < 256; i++) out[to + i] = d * int8(bytes[at + 4 + i]!)
    },
  },
  tq1_0: {
    weights: 256,
    bytes: 54,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at + 52)
      // The first digits of a run of bytes are consecutive weights, then their second digits, and so on.
      for (const [first, run, digits, start] of ternaryRuns)
        for (let n = 0; n < digits; n++)
          for (let i = 0; i < run; i++)
            out[to + start + run * n + i] = d * (ternary(bytes[at + first + i]!, n) - 1)
    },
  },
  tq2_0: {
    weights: 256,
    bytes: 66,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at + 64)
      for (let i = 0; i < 256; i++) out[to + i] = d * (pair(bytes, at, i) - 1)
    },
  },
} as const satisfies Readonly<Record<string, BlockFormat>>

/** Two bits of weight `i`, from two halves of 32 bytes. */
const pair = (bytes: Uint8Array, at: number, i: number): number =>
  (bytes[at + 32 * (i >> 7) + (i & 31)]! >> (2 * ((i >> 5) & 3))) & 3

/** One bit of weight `i`: of the weights 32 r + j, bit r of byte j. */
const bit = (bytes: Uint8Array, at: number, i: number): number => (bytes[at + (i & 31)]! >> (i >> 5)) & 1

/** Four bits of weight `i`: groups of 32 take turns in the lower and the upper halves of 32 bytes. */
const nibble = (bytes: Uint8Array, at: number, i: number): number =>
  (bytes[at + 32 * (i >> 6) + (i & 31)]! >> (i & 32 ? 4 : 0)) & 15

/**
 * Scale and minimum of a group of q4_k and q5_k, six bits each. Groups 0-3 have them in bytes 0-3 and 4-7.
 * Groups 4-7 have the low four bits in the nibbles of bytes 8-11 and the high two in the top of the bytes that
 * groups 0-3 leave free.
 */
function scaleOf(bytes: Uint8Array, at: number, group: number): number {
  const byte = bytes[at + (group & 3)]!
  return group < 4 ? byte & 63 : (bytes[at + 4 + group]! & 15) | ((byte >> 6) << 4)
}
function minimumOf(bytes: Uint8Array, at: number, group: number): number {
  const byte = bytes[at + 4 + (group & 3)]!
  return group < 4 ? byte & 63 : (bytes[at + 4 + group]! >> 4) | ((byte >> 6) << 4)
}

/** Runs of tq1_0: the first byte, bytes, digits of each, the first weight. */
const ternaryRuns = [
  [0, 32, 5, 0],
  [32, 16, 5, 160],
  [48, 4, 4, 240],
] as const
const powersOf3 = [1, 3, 9, 27, 81] as const

/**
 * Digit `n` of a byte that holds the fraction 0.abcde in base 3, rounded up to 1/256: shifting by powers of 3
 * modulo 1 leaves the digit in front.
 */
const ternary = (byte: number, n: number): number => (((byte * powersOf3[n]!) & 255) * 3) >> 8
