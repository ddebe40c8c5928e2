/**
 * GGML's blocks of 32 weights: a scale, sometimes a minimum, then an integer a weight.
 *
 *   q4_0    f16 d, 16 bytes of nibbles                            w = d * (q - 8)
 *   q4_1    f16 d, f16 m, 16 bytes of nibbles                     w = d * q + m
 *   q5_0    f16 d, 32 high bits, 16 bytes of nibbles              w = d * (q - 16)
 *   q5_1    f16 d, f16 m, 32 high bits, 16 bytes of nibbles       w = d * q + m
 *   q8_0    f16 d, 32 int8                                        w = d * q
 *   iq4_nl  f16 d, 16 bytes of nibbles                            w = d * codebook[q]
 *   mxfp4   u8 e, 16 bytes of nibbles (E2M1 floats, OCP MX 1.0)   w = 2^(e - 127) * float[q]
 *
 * Byte i of the nibbles holds weight i in its lower half and weight i + 16 in its upper one.
 */
import type { BlockFormat } from './ggml.ts'
import { f16Values } from './half.ts'

export const f16 = (bytes: Uint8Array, at: number): number => f16Values[bytes[at]! | (bytes[at + 1]! << 8)]!
export const int8 = (byte: number): number => (byte << 24) >> 24

// kvalues_iq4nl of ggml-common.h
const codebook = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const
// E2M1 has no more values than these; here they are doubled, as in ggml, and the exponent is one less.
const e2m1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12] as const

export const small = {
  q4_0: {
    weights: 32,
    bytes: 18,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + 2 + i]!
        out[to + i] = d * ((pair & 15) - 8)
        out[to + 16 + i] = d * ((pair >> 4) - 8)
      }
    },
  },
  q4_1: {
    weights: 32,
    bytes: 20,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      const m = f16(bytes, at + 2)
      for (let i = 0; i < 16; i++) {
        const pair = bytes[at + 4 + i]!
        out[to + i] = d * (pair & 15) + m
        out[to + 16 + i] = d * (pair >> 4) + m
      }
    },
  },
  q5_0: {
    weights: 32,
    bytes: 22,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      for (let i = 0; i < 32; i++) out[to + i] = d * (fiveBits(bytes, at + 2, i) - 16)
    },
  },
  q5_1: {
    weights: 32,
    bytes: 24,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      const m = f16(bytes, at + 2)
      for (let i = 0; i < 32; i++) out[to + i] = d * fiveBits(bytes, at + 4, i) + m
    },
  },
  q8_0: {
    weights: 32,
    bytes: 34,
    unpack(bytes, at, out, to) {
      const d = f16(bytes, at)
      for (let i = 0; i < 32; i++) out[to + i] = d * int8(bytes[at + 2 + i]!)
    },
  },
  iq4_nl: {
    weights: 32,
    bytes: 18,
    unpack(bytes, at, out, to) {
      lookUp(codebook, f16(bytes, at), bytes, at + 2, out, to)
    },
  },
  mxfp4: {
    weights: 32,
    bytes: 17,
    unpack(bytes, at, out, to) {
      lookUp(e2m1, 2 ** (bytes[at]! - 128), bytes, at + 1, out, to)
    },
  },
} as const satisfies Readonly<Record<string, BlockFormat>>

/** Integer `i` of 32 high bits at byte `at` and the nibbles behind them. */
function fiveBits(bytes: Uint8Array, at: number, i: number): number {
  const high = (bytes[at + (i >> 3)]! >> (i & 7)) & 1
  return (high << 4) | ((bytes[at + 4 + (i & 15)]! >> (i < 16 ? 0 : 4)) & 15)
}

/** 32 nibbles at byte `at` as indices of a table. */
function lookUp(
  table: readonly number[],
  scale: number,
  bytes: Uint8Array,
  at: number,
  out: Float32Array,
  to: number,
): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[at + i]!
    out[to + i] = scale * table[pair & 15]!
    out[to + 16 + i] = scale * table[pair >> 4]!
  }
}
