/**
 * safetensors: u64 header length, JSON header, then one buffer that the tensors fill without hole or overlap.
 *
 *   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
 *
 * Offsets count from the start of the buffer. Layout and limits: https://github.com/huggingface/safetensors
 */
import {
  type Checkpoint,
  checkTiling,
  type PlainType,
  plainTypes,
  type TensorEntry,
  tensorBytes,
} from './checkpoint.ts'
import { JsonReader } from './json.ts'
import { quote, type Source } from './source.ts'

/** The limit of the reference implementation. */
const headerLimit = 100_000_000

const dtypes: ReadonlyMap<string, PlainType> = new Map(plainTypes.map((type) => [type.toUpperCase(), type]))

/** Reads one file's header. FileError for anything that the format does not allow; no data is read. */
export function readSafetensors(source: Source): Checkpoint {
  const { path } = source
  const length = new DataView(source.read(0, 8).buffer).getBigUint64(0, true)
  if (length > headerLimit)
    throw source.error(
      0,
      `a header of ${length} bytes is over the limit of ${headerLimit}`,
      'Probably this is not a safetensors file',
    )
  const start = 8 + Number(length)
  const bytes = source.read(8, Number(length))
  if (bytes[0] !== 0x7b) throw source.error(8, 'the header does not begin with {')

  const json = new JsonReader(path, 8, bytes)
  const tensors = new Map<string, TensorEntry>()
  let metadata: Record<string, string> = Object.create(null)
  json.object((name, at) => {
    if (name === '__metadata__') metadata = stringMap(json)
    else tensors.set(name, tensorEntry(json, name, at, source, start))
  })
  json.end()
  checkTiling(source, tensors.values(), start)
  return { path, format: 'safetensors', tensors, metadata }
}

/** The value of a tensor's key, which lies at byte `at` of the file. */
function tensorEntry(json: JsonReader, name: string, at: number, source: Source, start: number): TensorEntry {
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
  return { name, type, shape, file: source.path, source, offset: start + begin, bytes }
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
