/**
 * Matrices in blocks as a GGUF file holds them. Q4_0 and Q8_0 are what MatMulNBits takes, but for the order of
 * their bytes: integers and scales stay the very same, and nothing is rounded a second time.
 *
 *   q4_0  byte i of a block: weights i and i + 16  ->  byte i: weights 2i and 2i + 1, low nibble first
 *   q8_0  int8 q                                   ->  u8 q + 128
 *
 * Other block formats have minima, codebooks or scales of scales, which the operator does not know.
 */
import { type Tensor, tensor } from '../array/index.ts'
import { readBytes } from '../store/checkpoint.ts'
import { f16ToF32 } from '../store/half.ts'
import { stackRows } from './quantize.ts'
import type { QuantizedMatrix } from './spec.ts'
import { ConvertedStorage } from './storage.ts'

/** Weights of a block, in both types. */
const block = 32

/** Copies the integers of the block at `at` of a file to `to`, in the other order. */
type Repack = (from: Uint8Array, at: number, packed: Uint8Array, to: number) => void

const repack: Readonly<Partial<Record<string, Repack>>> = {
  q4_0(from, at, packed, to) {
    for (let i = 0; i < 8; i++) {
      const [even, odd] = [from[at + 2 * i]!, from[at + 2 * i + 1]!]
      packed[to + i] = (even & 15) | ((odd & 15) << 4)
      packed[to + 8 + i] = (even >> 4) | (odd & 0xf0)
    }
  },
  q8_0(from, at, packed, to) {
    for (let i = 0; i < block; i++) packed[to + i] = from[at + i]! ^ 0x80
  },
}

/** The blocks of a matrix [out, in] that comes straight from a file; undefined if it is not Q4_0 or Q8_0. */
export function storedMatrix({ source }: Tensor): QuantizedMatrix | undefined {
  if (source.kind !== 'value' || !(source.storage instanceof ConvertedStorage)) return undefined
  const { entry } = source.storage
  const copy = repack[entry.type]
  if (!copy) return undefined
  const [out, inner] = entry.shape as readonly [number, number]
  const blocks = inner / block
  const bytes = entry.bytes / (out * blocks) - 2 // without the scale
  const from = readBytes(entry)
  const packed = new Uint8Array(out * blocks * bytes)
  const scales = new Uint16Array(out * blocks)
  for (let b = 0, at = 0; b < scales.length; b++, at += bytes + 2) {
    scales[b] = from[at]! | (from[at + 1]! << 8)
    copy(from, at + 2, packed, b * bytes)
  }
  return { packed: tensor(packed, [out, blocks, bytes]), scales: tensor(f16ToF32(scales), [out, blocks]) }
}

/** Matrices of one input on top of each other, if they are all in blocks of one type. */
export function stackStored(matrices: readonly Tensor[]): QuantizedMatrix | undefined {
  const parts = matrices.map((matrix) => storedMatrix(matrix))
  const [first] = parts
  if (!first || !parts.every((part) => part?.packed.shape[2] === first.packed.shape[2])) return undefined
  const all = parts as readonly QuantizedMatrix[]
  return {
    packed: stackRows(all.map(({ packed }) => packed)),
    scales: stackRows(all.map(({ scales }) => scales)),
  }
}
