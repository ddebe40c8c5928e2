/**
 * safetensors: u64 header length, JSON header, then one buffer that the tensors fill without hole or overlap.
 *
 *   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
 *
 * Offsets count from the start of the buffer. Layout and limits: https://github.com/huggingface/safetensors
 */
import {
  align,
  blocks,
  type Checkpoint,
  checkTiling,
  type PlainType,
  plainTypes,
  type TensorEntry,
  tensorBytes,
} from './checkpoint.ts'
import { FileError, quote, SourceFile } from './file.ts'
import { JsonReader } from './json.ts'
import { type TensorSource, writeTensors } from './write.ts'

/** The limit of the reference implementation. */
const headerLimit = 100_000_000

const dtypes: ReadonlyMap<string, PlainType> = new Map(plainTypes.map((type) => [type.toUpperCase(), type]))

/** Opens one file. FileError for anything that the format does not allow; no data is read. */
export function openSafetensors(path: string): Checkpoint {
  using file = new SourceFile(path)
  const length = Buffer.from(file.read(0, 8)).readBigUInt64LE()
  if (length > headerLimit)
    throw file.error(
      0,
      `a header of ${length} bytes is over the limit of ${headerLimit}`,
      'Probably this is not a safetensors file',
    )
  const start = 8 + Number(length)
  const bytes = file.read(8, Number(length))
  if (bytes[0] !== 0x7b) throw file.error(8, 'the header does not begin with {')

  const json = new JsonReader(path, 8, bytes)
  const tensors = new Map<string, TensorEntry>()
  let metadata: Record<string, string> = Object.create(null)
  json.object((name, at) => {
    if (name === '__metadata__') metadata = stringMap(json)
    else tensors.set(name, tensorEntry(json, name, at, path, start))
  })
  json.end()
  checkTiling(file, tensors.values(), start)
  return { path, format: 'safetensors', tensors, metadata }
}

/** The value of a tensor's key, which lies at byte `at` of the file. */
function tensorEntry(json: JsonReader, name: string, at: number, file: string, start: number): TensorEntry {
  const error = (reason: string) => json.error(at, `tensor ${quote(name)}: ${reason}`)
  let type: PlainType | undefined
  let shape: number[] | undefined
  let range: number[] | undefined
  json.object((field, offset) => {
    if (field === 'dtype') {
      const dtype = json.string()
      type = dtypes.get(dtype)
      if (type === undefined)
        throw json.error(
          offset,
          `tensor ${quote(name)}: dtype ${quote(dtype)} is not supported`,
          `Supported: ${[...dtypes.keys()].join(', ')}`,
        )
    } else if (field === 'shape') shape = counts(json)
    else if (field === 'data_offsets') range = counts(json)
    else throw json.error(offset, `tensor ${quote(name)}: unknown field ${quote(field)}`)
  })
  if (type === undefined || shape === undefined || range === undefined)
    throw error('dtype, shape or data_offsets is missing')
  const bytes = tensorBytes(type, shape, error)
  const [begin, end, ...more] = range
  if (begin === undefined || end === undefined || more.length > 0 || end - begin !== bytes)
    throw error(`data_offsets [${range.slice(0, 3)}] do not span the ${bytes} bytes of ${type} [${shape}]`)
  return { name, type, shape, file, offset: start + begin, bytes }
}

function counts(json: JsonReader): number[] {
  const values: number[] = []
  json.array(() => values.push(json.count()))
  return values
}

function stringMap(json: JsonReader): Record<string, string> {
  const map: Record<string, string> = Object.create(null)
  json.object((key) => {
    map[key] = json.string()
  })
  return map
}

export interface SafetensorsSource extends Omit<TensorSource, 'type'> {
  readonly dtype: PlainType
}

/**
 * Writes a file atomically, `__metadata__.format` being 'pt' unless `metadata` says otherwise. Tensors keep
 * their order, except that wider elements come first, so that each is aligned; data begins at a multiple of
 * 8. To hold no more than one tensor in memory, give `data` as functions. FileError if a name comes twice or
 * data does not fit its shape; then, as after any error, an existing file is left as it was.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<SafetensorsSource>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const sorted = [...tensors].sort((a, b) => blocks[b.dtype][1] - blocks[a.dtype][1])
  const sources = sorted.map(({ dtype, ...source }) => ({ ...source, type: dtype }))
  writeTensors(path, sources, 1, (placed) => {
    const members = [`"__metadata__":${JSON.stringify({ format: 'pt', ...metadata })}`]
    for (const { name, type, shape, offset, bytes } of placed) {
      if (name === '__metadata__') throw new FileError(path, 0, 'no tensor can have the name "__metadata__"')
      const entry = { dtype: type.toUpperCase(), shape, data_offsets: [offset, offset + bytes] }
      members.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`)
    }
    const json = Buffer.from(`{${members.join(',')}}`)
    const header = Buffer.alloc(8 + align(json.length, 8), ' ')
    header.writeBigUInt64LE(BigInt(header.length - 8))
    header.set(json, 8)
    return header
  })
}
