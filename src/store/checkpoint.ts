/**
 * A checkpoint: the named tensors of one or more files, whatever their format, read lazily.
 *
 * Opening reads and checks headers only. Data is read when asked for, one tensor at a time, and nothing is
 * kept. Multi-byte elements are little-endian in every format, as they are on every machine that glossa runs
 * on.
 */
import { bytesPerElement, type DType } from '../array/dtype.ts'
import { dequantize, type GgmlType, ggmlBlocks, ggmlTypeNames } from './ggml.ts'
import { bf16ToF32, f16ToF32 } from './half.ts'
import { FileError, quote, type Source } from './source.ts'

export { FileError } from './source.ts'

/** One element after the other: what arrays hold, and what else files may name. */
export type PlainType = DType | 'i16' | 'u16' | 'u32' | 'u64' | 'f8_e4m3' | 'f8_e5m2'

export type StorageType = PlainType | GgmlType

export interface TensorEntry {
  readonly name: string
  readonly type: StorageType
  /** Row-major, outermost first, in every format. */
  readonly shape: readonly number[]
  readonly file: string
  /** What reads the file. */
  readonly source: Source
  /** Of the first byte in `file`. */
  readonly offset: number
  readonly bytes: number
}

export interface Checkpoint {
  readonly path: string
  readonly format: 'safetensors' | 'gguf' | 'llama2c'
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, unknown>>
}

const plainBytes: Readonly<Record<PlainType, number>> = {
  ...bytesPerElement,
  i16: 2,
  u16: 2,
  u32: 4,
  u64: 8,
  f8_e4m3: 1,
  f8_e5m2: 1,
}
export const plainTypes = Object.keys(plainBytes) as readonly PlainType[]

/** Elements and bytes of a block: a single element, but for the GGML types. */
export const blocks = {
  ...Object.fromEntries(plainTypes.map((type) => [type, [1, plainBytes[type]]])),
  ...ggmlBlocks,
} as Readonly<Record<StorageType, readonly [elements: number, bytes: number]>>

export const elementCount = (shape: readonly number[]): number =>
  shape.reduce((count, size) => count * size, 1)

// As in PyTorch.
const rankLimit = 64

/**
 * Bytes of a tensor. `error` makes the exception for a shape with sizes that are not whole numbers from 0 on,
 * that is too large to be exact, or whose rows are not whole blocks.
 */
export function tensorBytes(
  type: StorageType,
  shape: readonly number[],
  error: (reason: string) => FileError,
): number {
  const [elements, bytes] = blocks[type]
  if (shape.length > rankLimit) throw error(`has ${shape.length} dimensions, more than ${rankLimit}`)
  let total = bytes
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) throw error(`shape [${shape}] has the size ${size}`)
    total *= size
    if (!Number.isSafeInteger(total)) throw error(`shape [${shape}] of ${type} is too large`)
  }
  if (elements === 1) return total
  const row = shape.at(-1) ?? 1
  if (row % elements !== 0) throw error(`rows of ${row} are not whole blocks of ${elements} ${type}`)
  return total / elements
}

/** The smallest multiple of `alignment` that is not below `offset`. */
export const align = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment

/**
 * Checks that the tensors fill the file from `start` to its end: no hole, no overlap, nothing cut off,
 * nothing left over. Each begins at the next multiple of `alignment`; so may the end of the file.
 */
export function checkTiling(
  file: Source,
  tensors: Iterable<TensorEntry>,
  start: number,
  alignment = 1,
): void {
  let end = start
  for (const tensor of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    const expected = align(end, alignment)
    if (tensor.offset !== expected) {
      const fault = tensor.offset < expected ? 'overlaps what is before it' : 'leaves a hole before it'
      throw file.error(
        Math.min(tensor.offset, file.size),
        `tensor ${quote(tensor.name)} at byte ${tensor.offset} ${fault}: byte ${expected} was expected`,
      )
    }
    end = tensor.offset + tensor.bytes
    if (end > file.size)
      throw file.error(
        file.size,
        `the file ends before tensor ${quote(tensor.name)} does, at byte ${end}`,
        'It is cut short or damaged: fetch it again',
      )
  }
  if (file.size > align(end, alignment))
    throw file.error(end, `${file.size - end} bytes follow the last tensor`)
}

/** The bytes of a tensor as stored, in an ArrayBuffer of their own. FileError if they cannot all be read. */
export function readBytes(entry: TensorEntry): Uint8Array<ArrayBuffer> {
  using source = entry.source
  return source.read(entry.offset, entry.bytes)
}

/**
 * A float tensor in f32, row-major: f16, bf16 and the GGML types exactly as they are, f64 rounded. FileError
 * for the integer and 8-bit float types: read those with `readBytes`.
 */
export function readFloats(entry: TensorEntry): Float32Array<ArrayBuffer> {
  const { type, shape } = entry
  const convert = conversions[type]
  if (convert === undefined)
    throw new FileError(
      entry.file,
      entry.offset,
      `tensor ${quote(entry.name)} is ${type}, which cannot be read as floats`,
      `Types that can: ${Object.keys(conversions).join(', ')}`,
    )
  const bytes = readBytes(entry)
  try {
    return convert(bytes, elementCount(shape))
  } catch (error) {
    throw new FileError(entry.file, entry.offset, `tensor ${quote(entry.name)}: ${(error as Error).message}`)
  }
}

type Convert = (bytes: Uint8Array<ArrayBuffer>, count: number) => Float32Array<ArrayBuffer>

const blockwise = ggmlTypeNames.map((type): [GgmlType, Convert] => [
  type,
  (bytes, count) => dequantize(type, bytes, count),
])

const conversions: Readonly<Partial<Record<StorageType, Convert>>> = {
  f32: ({ buffer }) => new Float32Array(buffer),
  f16: ({ buffer }) => f16ToF32(new Uint16Array(buffer)),
  bf16: ({ buffer }) => bf16ToF32(new Uint16Array(buffer)),
  f64: ({ buffer }) => new Float32Array(new Float64Array(buffer)),
  ...Object.fromEntries(blockwise),
}
