/**
 * The header of a GGUF file, version 2 or 3, little-endian: magic, version, counts, metadata, tensor records.
 *
 * Our own, because `@huggingface/gguf` 0.4.6 reads zeros past the end of a local file (its buffer grows by
 * whole chunks), so a truncated file opens as a wrong model; it also cuts strings short and names no offset
 * in errors.
 *
 * Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import type { StorageType } from './checkpoint.ts'
import {
  type GgufPlain,
  type GgufScalar,
  type GgufValue,
  ggmlNames,
  ggmlTypes,
  numbers,
  valueTypes,
} from './ggufTypes.ts'
import { quote, type Source, utf8 } from './source.ts'

export interface GgufRecord {
  readonly name: string
  readonly type: StorageType
  /** Row-major, outermost first: the reverse of the file's order. */
  readonly shape: readonly number[]
  /** From the start of the data section. */
  readonly offset: number
  /** Where the record lies in the file. */
  readonly at: number
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly GgufRecord[]
  /** Position behind the last record; the data section begins at the next multiple of the alignment. */
  readonly end: number
}

// llama.cpp's limit on dimensions; ours on what a header may make us allocate.
const rankLimit = 4
const headerLimit = 100_000_000
const valueLimit = 2 ** 24

/** Reads and checks a header. FileError for anything that the format does not allow. */
export function readGgufHeader(file: Source): GgufHeader {
  const cursor = new Cursor(file)
  if (cursor.u32() !== 0x46554747) throw file.error(0, 'does not begin with GGUF')
  const version = cursor.u32()
  if (version !== 2 && version !== 3)
    throw file.error(
      4,
      version === 0x03000000 ? 'is a big-endian GGUF file' : `GGUF version ${version} is not 2 or 3`,
      'Convert the model again with a current llama.cpp',
    )
  // The smallest tensor record: an empty name, no dimensions, type and offset. The smallest pair: a u8 value.
  const tensorCount = cursor.length('tensors', 24)
  const pairCount = cursor.length('metadata pairs', 13)

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < pairCount; i++) {
    const at = cursor.at
    const key = cursor.string()
    if (metadata.has(key)) throw file.error(at, `metadata key ${quote(key)} appears twice`)
    metadata.set(key, cursor.value())
  }

  const tensors = new Map<string, GgufRecord>()
  for (let i = 0; i < tensorCount; i++) {
    const record = cursor.record()
    if (tensors.has(record.name)) throw file.error(record.at, `tensor ${quote(record.name)} appears twice`)
    tensors.set(record.name, record)
  }
  return { metadata, tensors: [...tensors.values()], end: cursor.at }
}

/** Bytes that a value takes at least: an empty string is its length alone. */
const smallest = (type: GgufScalar): number =>
  type === 'string' ? 8 : type === 'bool' ? 1 : numbers[type][0]

const windowSize = 2 ** 18

/** Reads a header from front to back, a window at a time. */
class Cursor {
  at = 0
  readonly #file: Source
  #window = Buffer.alloc(0)
  #start = 0
  #values = 0

  constructor(file: Source) {
    this.#file = file
  }

  /** Steps over `length` bytes and returns their index in the window. */
  #take(length: number): number {
    const { at } = this
    if (at + length > headerLimit)
      throw this.#file.error(at, `the header is over the limit of ${headerLimit} bytes`)
    if (at + length > this.#start + this.#window.length) {
      const size = Math.max(length, Math.min(windowSize, this.#file.size - at))
      this.#window = Buffer.from(this.#file.read(at, size).buffer)
      this.#start = at
    }
    this.at += length
    return at - this.#start
  }

  scalar(type: GgufScalar): GgufPlain {
    if (type === 'string') return this.string()
    if (type === 'bool') {
      const index = this.#take(1)
      const byte = this.#window[index]!
      if (byte > 1) throw this.#file.error(this.at - 1, `a bool is ${byte}, not 0 or 1`)
      return byte === 1
    }
    const [width, read] = numbers[type]
    const index = this.#take(width)
    const value = this.#window[read](index)
    return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
  }

  u32(): number {
    const index = this.#take(4)
    return this.#window.readUInt32LE(index)
  }

  /** A u64 that is exact in a JavaScript number. */
  u64(): number {
    const index = this.#take(8)
    const value = this.#window.readUInt32LE(index) + this.#window.readUInt32LE(index + 4) * 2 ** 32
    if (!Number.isSafeInteger(value)) throw this.#file.error(this.at - 8, `the number ${value} is too large`)
    return value
  }

  /** A number of things that take at least `width` bytes each, all still to come. */
  length(things: string, width: number): number {
    const at = this.at
    const count = this.u64()
    const rest = this.#file.size - this.at
    if (count * width > rest)
      throw this.#file.error(
        at,
        `${count} ${things} cannot be in the ${rest} bytes that are left of the file`,
      )
    return count
  }

  string(): string {
    const at = this.at
    const length = this.length('bytes of text', 1)
    const index = this.#take(length)
    const text = utf8(this.#window, index, index + length)
    if (text === undefined) throw this.#file.error(at, 'a string is not valid UTF-8')
    return text
  }

  #valueType(): (typeof valueTypes)[number] {
    const at = this.at
    const id = this.u32()
    const type = valueTypes[id]
    if (type === undefined) throw this.#file.error(at, `unknown type ${id} of a metadata value`)
    return type
  }

  value(): GgufValue {
    const type = this.#valueType()
    if (type !== 'array') return [type, this.scalar(type)] as GgufValue
    const at = this.at
    const inner = this.#valueType()
    if (inner === 'array') throw this.#file.error(at, 'arrays of arrays are not supported, as in llama.cpp')
    const count = this.length('array elements', smallest(inner))
    this.#values += count
    if (this.#values > valueLimit)
      throw this.#file.error(at, `metadata has more than ${valueLimit} array elements`)
    return [`${inner}[]`, Array.from({ length: count }, () => this.scalar(inner))] as unknown as GgufValue
  }

  record(): GgufRecord {
    const at = this.at
    const name = this.string()
    const error = (reason: string, hint?: string) =>
      this.#file.error(at, `tensor ${quote(name)} ${reason}`, hint)
    const rank = this.u32()
    if (rank > rankLimit) throw error(`has ${rank} dimensions, more than ${rankLimit}`)
    const shape = Array.from({ length: rank }, () => this.u64()).reverse()
    const id = this.u32()
    const type = ggmlTypes.get(id)
    if (type === undefined)
      throw error(
        `has the type ${ggmlNames[id] ?? id}, which is not supported`,
        `Supported: ${[...ggmlTypes.values()].join(', ')}`,
      )
    return { name, type, shape, offset: this.u64(), at }
  }
}
