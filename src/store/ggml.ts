/**
 * The block formats of GGML: some dozens of weights that share scales. All little-endian.
 *
 * Blocks of 32 (`ggmlSmall.ts`) and of 256 (`ggmlLarge.ts`); the K formats divide 256 weights into groups that
 * have small integers for scales. Results equal llama.cpp's scalar code (`ggml-quants.c`, no fused
 * multiply-add) bit for bit: every product there is exact in f32, so computing in f64 and storing an f32
 * rounds once, at the same place.
 */
import { large } from './ggmlLarge.ts'
import { small } from './ggmlSmall.ts'

/** How the blocks of one type are read. */
export interface BlockFormat {
  /** Weights of one block. */
  readonly weights: number
  /** Bytes of one block. */
  readonly bytes: number
  /** Writes the weights of the block at byte `at` to `out` from index `to` on. */
  unpack(bytes: Uint8Array, at: number, out: Float32Array, to: number): void
}

const formats = { ...small, ...large } as const satisfies Readonly<Record<string, BlockFormat>>

export type GgmlType = keyof typeof formats

export const ggmlTypeNames = Object.keys(formats) as readonly GgmlType[]

/** Weights and bytes of one block. */
export const ggmlBlocks = Object.fromEntries(
  Object.entries(formats).map(([type, { weights, bytes }]) => [type, [weights, bytes]]),
) as unknown as Readonly<Record<GgmlType, readonly [weights: number, bytes: number]>>

/** The `count` weights of a sequence of blocks. `bytes` holds exactly their blocks, else RangeError. */
export function dequantize(type: GgmlType, bytes: Uint8Array, count: number): Float32Array<ArrayBuffer> {
  const format: BlockFormat = formats[type]
  if (count % format.weights !== 0 || bytes.length !== (count / format.weights) * format.bytes)
    throw new RangeError(`${count} weights of ${type} are not ${bytes.length} bytes`)
  const out = new Float32Array(count)
  for (let at = 0, to = 0; to < count; at += format.bytes, to += format.weights)
    format.unpack(bytes, at, out, to)
  return out
}
