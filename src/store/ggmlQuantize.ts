/** Rounding floats to GGML's blocks. */
import { ggmlBlocks } from './ggml.ts'
import { f16Word } from './half.ts'

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
