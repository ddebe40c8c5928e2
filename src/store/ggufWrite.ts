/** Writing GGUF version 3. */
import { align, type StorageType } from './checkpoint.ts'
import { quantize } from './ggmlQuantize.ts'
import { alignmentOf } from './gguf.ts'
import {
  type GgufPlain,
  type GgufScalar,
  type GgufValue,
  ggmlTypes,
  numbers,
  valueTypes,
} from './ggufTypes.ts'
import { f32ToBf16, f32ToF16 } from './half.ts'
import { FileError, quote } from './source.ts'
import { type PlacedTensor, type TensorSource, writeTensors } from './write.ts'

const encoders: Readonly<Partial<Record<StorageType, (values: Float32Array) => ArrayBufferView>>> = {
  f32: (values) => values,
  f16: f32ToF16,
  bf16: f32ToBf16,
  q4_0: (values) => quantize('q4_0', values),
  q8_0: (values) => quantize('q8_0', values),
}
const typeIds: ReadonlyMap<StorageType, number> = new Map([...ggmlTypes].map(([id, type]) => [type, id]))

// As llama.cpp has them: GGML_MAX_NAME, less its closing zero, and GGML_MAX_DIMS.
const nameLimit = 63
const rankLimit = 4

/**
 * Writes a file atomically, tensors in the order given. Data in a Float32Array is converted to the tensor's
 * type (f32, f16, bf16, q8_0, q4_0); any other data is taken as the tensor's bytes, so that every type can be
 * copied. To hold no more than one tensor in memory, give `data` as functions. FileError for what GGUF or
 * llama.cpp does not allow; then, as after any error, an existing file is left as it was.
 */
export function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: Iterable<TensorSource>,
): void {
  const alignment = alignmentOf(path, metadata['general.alignment'])
  const encoded = [...tensors].map((tensor) => ({ ...tensor, data: () => encode(path, tensor) }))
  writeTensors(path, encoded, alignment, (placed) => {
    const parts = [Buffer.from('GGUF'), scalar('u32', 3), scalar('u64', placed.length)]
    const pairs = Object.entries(metadata)
    parts.push(scalar('u64', pairs.length))
    for (const [key, pair] of pairs) parts.push(string(key), value(path, key, pair))
    for (const tensor of placed) parts.push(record(path, tensor))
    const size = parts.reduce((sum, part) => sum + part.length, 0)
    return Buffer.concat(parts, align(size, alignment)) // filled up with zeros
  })
}

function encode(path: string, { name, type, data }: TensorSource): ArrayBufferView {
  const view = typeof data === 'function' ? data() : data
  if (!(view instanceof Float32Array)) return view
  const encoder = encoders[type]
  const error = (reason: string) => new FileError(path, 0, `tensor ${quote(name)}: ${reason}`)
  if (encoder === undefined)
    throw error(`floats cannot be written as ${type}, only as ${Object.keys(encoders).join(', ')}`)
  try {
    return encoder(view)
  } catch (cause) {
    throw error((cause as Error).message)
  }
}

function record(path: string, { name, type, shape, offset }: PlacedTensor): Buffer {
  const error = (reason: string) => new FileError(path, 0, `tensor ${quote(name)}: ${reason}`)
  const id = typeIds.get(type)
  if (id === undefined) throw error(`GGUF has no type ${type}`)
  if (Buffer.byteLength(name) > nameLimit) throw error(`the name is over ${nameLimit} bytes`)
  if (shape.length > rankLimit) throw error(`${shape.length} dimensions are more than ${rankLimit}`)
  const dims = shape.map((size) => scalar('u64', size)).reverse()
  return Buffer.concat([
    string(name),
    scalar('u32', shape.length),
    ...dims,
    scalar('u32', id),
    scalar('u64', offset),
  ])
}

function value(path: string, key: string, [type, content]: GgufValue): Buffer {
  const id = (name: string) => scalar('u32', valueTypes.indexOf(name as GgufScalar))
  try {
    if (!Array.isArray(content))
      return Buffer.concat([id(type), scalar(type as GgufScalar, content as GgufPlain)])
    const inner = type.replace('[]', '') as GgufScalar
    const elements = content.map((element: GgufPlain) => scalar(inner, element))
    return Buffer.concat([id('array'), id(inner), scalar('u64', content.length), ...elements])
  } catch (error) {
    throw new FileError(path, 0, `metadata ${quote(key)} is not ${type}: ${(error as Error).message}`)
  }
}

const string = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([scalar('u64', bytes.length), bytes])
}

/** The bytes of a value; TypeError or RangeError if it is not of the type. */
function scalar(type: GgufScalar, value: GgufPlain): Buffer {
  if (type === 'string' && typeof value === 'string') return string(value)
  if (type === 'bool' && typeof value === 'boolean') return Buffer.of(Number(value))
  if (type === 'string' || type === 'bool' || typeof value === 'string' || typeof value === 'boolean')
    throw new TypeError(`got ${typeof value} ${value}`)
  const [width, , write] = numbers[type]
  const bytes = Buffer.alloc(width)
  if (write === 'writeBigUInt64LE' || write === 'writeBigInt64LE') bytes[write](BigInt(value))
  else if (typeof value === 'number' && (type === 'f32' || type === 'f64' || Number.isInteger(value)))
    bytes[write](value)
  else throw new TypeError(`got ${typeof value} ${value}`)
  return bytes
}
