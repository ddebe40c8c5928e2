/**
 * The block formats of GGML: some dozens of weights that share scales. All little-endian.
 *
 *   q4_0   32: f16 d, 16 bytes of nibbles                           w = d * (q - 8)
 *   q4_1   32: f16 d, f16 m, 16 bytes of nibbles                    w = d * q + m
 *   q8_0   32: f16 d, 32 int8                                       w = d * q
 *   q4_k  256: f16 d, f16 dmin, 8 scales and 8 minima of 6 bits,    w = d * scale * q - dmin * minimum
 *              128 bytes of nibbles
 *   q6_k  256: 128 bytes of low nibbles, 64 bytes of high pairs,    w = d * scale * (q - 32)
 *              16 int8 scales, f16 d
 *
 * Results equal llama.cpp's scalar code (`ggml-quants.c`, no fused multiply-add) bit for bit: every product
 * here is exact in f32, so computing in f64 and storing an f32 rounds once, at the same place.
 */
import { f16Values, f16Word } from './half.ts'

export type GgmlType = 'q4_0' | 'q4_1' | 'q8_0' | 'q4_k' | 'q6_k'

/** Weights and bytes of one block. */
export const ggmlBlocks: Readonly<Record<GgmlType, readonly [weights: number, bytes: number]>> = {
  q4_0: [32, 18],
  q4_1: [32, 20],
  q8_0: [32, 34],
  q4_k: [256, 144],
  q6_k: [256, 210],
}

/** Writes the weights of the block at byte `at` to `out` from index `to` on. */
type Unpack = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void

const f16 = (bytes: Uint8Array, at: number): number => f16Values[bytes[at]! | (bytes[at + 1]! << 8)]!
const int8 = (byte: number): number => (byte << 24) >> 24

const unpack: Readonly<Record<GgmlType, Unpack>> = {
  q4_0(bytes, at, out, to) {
    const d = f16(bytes, at)
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!
      out[to + i] = d * ((pair & 15) - 8)
      out[to + 16 + i] = d * ((pair >> 4) - 8)
    }
  },
  q4_1(bytes, at, out, to) {
    const d = f16(bytes, at)
    const m = f16(bytes, at + 2)
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i]!
      out[to + i] = d * (pair & 15) + m
      out[to + 16 + i] = d * (pair >> 4) + m
    }
  },
  q8_0(bytes, at, out, to) {
    const d = f16(bytes, at)
    for (let i = 0; i < 32; i++) out[to + i] = d * int8(bytes[at + 2 + i]!)
  },
  q4_k(bytes, at, out, to) {
    const d = f16(bytes, at)
    const dmin = f16(bytes, at + 2)
    for (let group = 0; group < 8; group++) {
      // Groups 0-3 have their scale and minimum in bytes 0-3 and 4-7. Groups 4-7 have the low four bits in
      // the nibbles of bytes 8-11 and the high two in the top of the bytes that groups 0-3 leave free.
      const a = bytes[at + 4 + (group & 3)]!
      const b = bytes[at + 8 + (group & 3)]!
      const c = bytes[at + 12 + (group & 3)]!
      const scale = d * (group < 4 ? a & 63 : (c & 15) | ((a >> 6) << 4))
      const minimum = dmin * (group < 4 ? b & 63 : (c >> 4) | ((b >> 6) << 4))
      const nibbles = at + 16 + 32 * (group >> 1)
      const shift = 4 * (group & 1)
      const start = to + 32 * group
      for (let i = 0; i < 32; i++) out[start + i] = scale * ((bytes[nibbles + i]! >> shift) & 15) - minimum
    }
  },
  q6_k(bytes, at, out, to) {
    const d = f16(bytes, at + 208)
    for (let group = 0; group < 16; group++) {
      // Halves of 128 weights: four runs of 32 (two groups each) take low nibbles from bytes 0-31, 32-63 and
      // again 0-31, 32-63 (upper nibbles), and their high pairs from the same 32 bytes at bit 0, 2, 4, 6.
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
}

/** The `count` weights of a sequence of blocks. `bytes` holds exactly their blocks, else RangeError. */
export function dequantize(type: GgmlType, bytes: Uint8Array, count: number): Float32Array<ArrayBuffer> {
  const [weights, size] = ggmlBlocks[type]
  if (count % weights !== 0 || bytes.length !== (count / weights) * size)
    throw new RangeError(`${count} weights of ${type} are not ${bytes.length} bytes`)
  const out = new Float32Array(count)
  const block = unpack[type]
  for (let at = 0, to = 0; to < count; at += size, to += weights) block(bytes, at, out, to)
  return out
}

/**
 * Blocks of `values` as `quantize_row_q4_0_ref` and `quantize_row_q8_0_ref` make them. The number of values
 * is a multiple of 32; values are finite and their scale fits f16, else RangeError naming the first bad
 * block.
 */
export function quantize(type: 'q4_0' | 'q8_0', values: Float32Array): Uint8Array<ArrayBuffer> {
  if (values.length % 32 !== 0) throw new RangeError(`${values.length} values are not whole blocks of 32`)
  const size = ggmlBlocks[type][1]
  const bytes = new Uint8Array((values.length / 32) * size)
  const pack = type === 'q4_0' ? packQ4 : packQ8
  for (let at = 0, from = 0; from < values.length; at += size, from += 32) {
    let extreme = 0
    let rest = 0
    for (let i = from; i < from + 32; i++) {
      const value = values[i]!
      rest += value - value // 0, or NaN after an infinity or a NaN
      if (Math.abs(value) > Math.abs(extreme)) extreme = value
    }
    const d = Math.fround(type === 'q4_0' ? extreme / -8 : Math.abs(extreme) / 127)
    const word = f16Word(d)
    if (rest !== 0 || (word & 0x7c00) === 0x7c00)
      throw new RangeError(`values ${from} to ${from + 31} are not finite or too large for ${type}`)
    bytes[at] = word
    bytes[at + 1] = word >> 8
    pack(values, from, d === 0 ? 0 : Math.fround(1 / d), bytes, at + 2)
  }
  return bytes
}

type Pack = (values: Float32Array, from: number, inverse: number, bytes: Uint8Array, at: number) => void

const packQ4: Pack = (values, from, inverse, bytes, at) => {
  const q = (i: number): number => Math.min(15, Math.fround(Math.fround(values[i]! * inverse) + 8.5) | 0)
  for (let i = 0; i < 16; i++) bytes[at + i] = q(from + i) | (q(from + 16 + i) << 4)
}

const packQ8: Pack = (values, from, inverse, bytes, at) => {
  for (let i = 0; i < 32; i++) {
    const x = Math.fround(values[from + i]! * inverse)
    bytes[at + i] = Math.trunc(x + (x < 0 ? -0.5 : 0.5)) // C's roundf: halves away from zero
  }
}
