/** Parquet as rows. https://parquet.apache.org/docs/file-format */
import { deserialize, serialize } from 'node:v8'
import { type FileMetaData, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { SourceFile } from '../../store/file.ts'
import type { Source } from '../../store/source.ts'
import { Spans } from './bytes.ts'
import { stampOf } from './stamp.ts'
import { TemporaryFile } from './temporary.ts'
import { checkIndex, type Row, type Rows } from './types.ts'

export interface ParquetOptions {
  /** Columns to read (default all). */
  readonly columns?: readonly string[]
}

/**
 * Opens a Parquet file: nested columns as objects and arrays, compressed in any way but LZO. Whole numbers of 64 bits
 * are numbers where those are exact, else BigInt; times are Date. Byte arrays are UTF-8 text, or an error: leave
 * such columns out.
 *
 * Rows are stored in groups, by column, and reading one means to unpack its group. A group is unpacked when the first
 * of its rows is asked for, and its rows are laid into a temporary file: any order of reading unpacks each once,
 * with one group in memory. FileError for what is no Parquet file, is cut, or cannot be unpacked; other damage is not
 * noticed, because no checksum of pages is verified.
 */
export async function openParquet(path: string, { columns }: ParquetOptions = {}): Promise<Rows<Row>> {
  const source = new SourceFile(path)
  const file = bufferOf(source)
  const metadata = await guarded(source, 'its footer', () =>
    parquetMetadataAsync(file, { geoparquet: false }),
  )
  checkColumns(source, metadata, columns)
  const groups = metadata.row_groups.map((group) => ({ start: 0, rows: Number(group.num_rows) }))
  let length = 0
  for (const group of groups) {
    group.start = length
    length += group.rows
  }
  const read = async (number: number): Promise<Spans> => {
    const { start: rowStart, rows: count } = groups[number]!
    const options = { file, metadata, compressors, parsers: { stringFromBytes }, geoparquet: false }
    const wanted = columns && { columns: [...columns] }
    const rows = await guarded(source, `its row group ${number}`, () =>
      parquetReadObjects({ ...options, ...wanted, rowStart, rowEnd: rowStart + count }),
    )
    if (rows.length !== count)
      throw source.error(0, `its row group ${number} has ${rows.length} rows instead of ${count}`)
    source[Symbol.dispose]()
    return lay(rows)
  }
  const laid: (Promise<Spans> | undefined)[] = []
  let turn: Promise<unknown> = Promise.resolve()
  /** One after the other: several unpacked at a time would be in memory together. */
  const spansOf = (number: number): Promise<Spans> => {
    const spans = laid[number] ?? turn.then(() => read(number))
    laid[number] = spans
    turn = spans.catch(() => undefined)
    return spans
  }
  return {
    length,
    stamp: stampOf(path, 'parquet', columns ?? null),
    async at(index) {
      checkIndex(index, length)
      const number = groups.findLastIndex(({ start }) => start <= index)
      const within = index - groups[number]!.start
      const spans = await spansOf(number)
      const start = spans.start(within)
      return deserialize(spill!.read(start, spans.end(within) - start)) as Row
    },
  }
}

/** Rows of all files, as the structured clone algorithm writes them. */
let spill: TemporaryFile | undefined

function lay(rows: readonly Record<string, unknown>[]): Spans {
  spill ??= new TemporaryFile()
  const spans = new Spans()
  for (const row of rows) {
    const bytes = serialize(plain(row))
    const start = spill.append(bytes)
    spans.push(start, start + bytes.length)
  }
  return spans
}

/** Values without BigInt as far as that is exact. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint')
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
  if (value === undefined) return null
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]))
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function stringFromBytes(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined
  try {
    return strict.decode(bytes)
  } catch {
    throw new Error('a column holds bytes that are not UTF-8 text: name the columns to read')
  }
}

const bufferOf = (source: Source) => ({
  byteLength: source.size,
  slice: (start: number, end = source.size): ArrayBuffer =>
    source.read(start, end - start).buffer as ArrayBuffer,
})

async function guarded<T>(source: Source, part: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw source.error(0, `${part} cannot be read as Parquet (${(error as Error).message})`)
  }
}

function checkColumns(source: Source, metadata: FileMetaData, wanted: readonly string[] | undefined): void {
  const own = new Set(metadata.row_groups[0]?.columns.map((column) => column.meta_data?.path_in_schema[0]))
  for (const column of wanted ?? [])
    if (metadata.row_groups.length > 0 && !own.has(column))
      throw source.error(0, `has no column ${JSON.stringify(column)}; it has: ${[...own].join(', ')}`)
}
