/** Rounding weight matrices to blocks of 4 or 8 bits, in the layout of `array/quantized.ts`. */
import { type Tensor, tensor, typedArray } from '../array/index.ts'
import type { QuantizedMatrix } from './spec.ts'

export interface QuantizeOptions {
  readonly bits: 4 | 8
  /** Values that share a scale; must divide the input axis. */
  readonly block: number
}

/**
 * Symmetric rounding to nearest. 4 bits: scale = (the value of largest magnitude) / -8, so that this value is
 * exact, as in llama.cpp's Q4_0; 8 bits: scale = largest magnitude / 127.
 *
 * @param rows f32 [out, in], row-major
 */
export function quantizeRows(
  rows: Float32Array,
  [out, inner]: readonly [number, number],
  { bits, block }: QuantizeOptions,
): QuantizedMatrix {
  if (inner % block !== 0) throw new RangeError(`rows of ${inner} do not divide into blocks of ${block}`)
  const blocks = inner / block
  const bytes = (block * bits) / 8
  const packed = new Uint8Array(out * blocks * bytes)
  const scales = new Float32Array(out * blocks)
  for (let b = 0; b < scales.length; b++) {
    const from = b * block
    let extreme = 0
    for (let i = from; i < from + block; i++) if (Math.abs(rows[i]!) > Math.abs(extreme)) extreme = rows[i]!
    const scale = Math.fround(bits === 4 ? extreme / -8 : Math.abs(extreme) / 127)
    scales[b] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    const to = b * bytes
    if (bits === 8)
      for (let i = 0; i < block; i++) packed[to + i] = Math.round(rows[from + i]! * inverse) + 128
    else
      for (let i = 0; i < block; i += 2) {
        const low = Math.min(15, Math.floor(rows[from + i]! * inverse + 8.5))
        const high = Math.min(15, Math.floor(rows[from + i + 1]! * inverse + 8.5))
        packed[to + i / 2] = low | (high << 4)
      }
  }
  return { packed: tensor(packed, [out, blocks, bytes]), scales: tensor(scales, [out, blocks]) }
}

/** A matrix as rows [out, in]: itself, or its transpose where it is stored as [in, out]. */
export function asRows(matrix: Tensor, layout: 'out-in' | 'in-out'): Tensor {
  if (layout === 'out-in') return matrix
  const [inner, out] = matrix.sizes as [number, number]
  const from = matrix.data as Float32Array
  const to = new Float32Array(from.length)
  for (let i = 0; i < inner; i++) for (let o = 0; o < out; o++) to[o * inner + i] = from[i * out + o]!
  return tensor(to, [out, inner])
}

/** Arrays [rows, ...] of equal rows on top of each other: matrices of one input become one product. */
export function stackRows(arrays: readonly Tensor[]): Tensor {
  const [first] = arrays as [Tensor, ...Tensor[]]
  const [, ...row] = first.sizes
  const rows = arrays.reduce((sum, { sizes }) => sum + sizes[0]!, 0)
  const data = typedArray(
    first.dtype,
    arrays.reduce((sum, array) => sum + array.data.length, 0),
  )
  let at = 0
  for (const array of arrays) {
    data.set(array.data as never, at)
    at += array.data.length
  }
  return tensor(data, [rows, ...row], first.dtype)
}
