/** Tables of text as rows: CSV as RFC 4180 has it, and TSV alike. */
import { type Source, utf8 } from '../../store/source.ts'
import { lineAt, openBytes, Spans } from './bytes.ts'
import { stampOf } from './stamp.ts'
import { startOfText } from './text.ts'
import { checkIndex, type Row, type Rows } from './types.ts'

export interface TableOptions {
  /** What is between fields: one ASCII character (default a tab for names in `.tsv`, else a comma). */
  readonly delimiter?: string
}

/**
 * Opens `.csv`, `.tsv` or either `.gz`, UTF-8; the first line names the columns. All values are strings as they
 * stand, spaces and empty ones too. A field in quotes may have delimiters, line breaks and doubled quotes in it. Only
 * the places of rows are held; blank lines are no rows. FileError with the line for a quote amid a field, a row with
 * more or fewer fields than columns, quotes that do not end.
 */
export async function openTable(path: string, options: TableOptions = {}): Promise<Rows<Row>> {
  const { delimiter = /\.tsv(\.gz)?$/i.test(path) ? '\t' : ',' } = options
  if (!/^[\t -!#-~]$/.test(delimiter))
    throw new RangeError(
      `the delimiter ${JSON.stringify(delimiter)} is not one ASCII character other than a quote`,
    )
  const source = await openBytes(path)
  const spans = new Spans()
  let columns: string[] | undefined
  for (const { start, end, fields } of records(source, delimiter)) {
    if (columns === undefined) {
      columns = parse(source, start, end, delimiter)
      checkColumns(source, start, columns)
      continue
    }
    if (fields !== columns.length) {
      const reason = `line ${lineAt(source, start)} has ${fields} fields; there are ${columns.length} columns`
      throw source.error(
        start,
        reason,
        'Fields with a delimiter or a line break in them have to be in quotes',
      )
    }
    spans.push(start, end)
  }
  if (columns === undefined) throw source.error(0, 'has no first line that names the columns')
  const names = columns
  return {
    length: spans.length,
    stamp: stampOf(path, 'table', delimiter),
    at(index) {
      checkIndex(index, spans.length)
      const values = parse(source, spans.start(index), spans.end(index), delimiter)
      return Object.fromEntries(names.map((name, column) => [name, values[column]!]))
    },
  }
}

function checkColumns(source: Source, start: number, columns: readonly string[]): void {
  const twice = columns.find((name, at) => columns.indexOf(name) !== at)
  if (twice !== undefined) throw source.error(start, `has two columns named ${JSON.stringify(twice)}`)
}

const [quote, lineFeed, carriageReturn] = [0x22, 0x0a, 0x0d]
const windowSize = 4 * 2 ** 20

/** Where in a record the next byte is. */
type State = 'field' | 'plain' | 'quoted' | 'closed'

interface Found {
  readonly start: number
  readonly end: number
  readonly fields: number
}

/** The places of all records, the first line's too. */
function* records(source: Source, delimiter: string): Generator<Found> {
  const between = delimiter.charCodeAt(0)
  let start = startOfText(source)
  let state: State = 'field'
  let fields = 1
  let returned = false
  for (let base = start; base < source.size; base += windowSize) {
    const window = source.read(base, Math.min(windowSize, source.size - base))
    for (let at = 0; at < window.length; at++) {
      const byte = window[at]!
      if (state === 'quoted') {
        if (byte === quote) state = 'closed'
        continue
      }
      const offset = base + at
      if (returned && byte !== lineFeed)
        throw misplaced(source, offset - 1, 'a carriage return without a line feed')
      if (byte === lineFeed) {
        const end = returned ? offset - 1 : offset
        if (end > start) yield { start, end, fields }
        start = offset + 1
        state = 'field'
        fields = 1
        returned = false
      } else if (byte === carriageReturn) returned = true
      else if (byte === between) {
        fields++
        state = 'field'
      } else if (byte === quote) {
        if (state === 'plain') throw misplaced(source, offset, 'a quote amid a field that is not in quotes')
        state = 'quoted'
      } else if (state === 'closed') throw misplaced(source, offset, 'text behind a field in quotes')
      else state = 'plain'
    }
  }
  if (state === 'quoted') throw misplaced(source, start, 'a field in quotes without an end, in the row')
  if (returned) throw misplaced(source, source.size - 1, 'a carriage return without a line feed')
  if (source.size > start) yield { start, end: source.size, fields }
}

const misplaced = (source: Source, offset: number, what: string): Error =>
  source.error(
    offset,
    `line ${lineAt(source, offset)} has ${what}`,
    'RFC 4180: "a field with ""quotes"" in it"',
  )

/** The fields of a record that `records` has found well-formed. */
function parse(source: Source, start: number, end: number, delimiter: string): string[] {
  const bytes = source.read(start, end - start)
  const text = utf8(bytes, 0, bytes.length)
  if (text === undefined) throw source.error(start, `line ${lineAt(source, start)} is not UTF-8`)
  const fields: string[] = []
  for (let at = 0; at <= text.length; at++) {
    if (text[at] === '"') {
      let close = text.indexOf('"', at + 1)
      while (text[close + 1] === '"') close = text.indexOf('"', close + 2)
      fields.push(text.slice(at + 1, close).replaceAll('""', '"'))
      at = close + 1
    } else {
      const next = text.indexOf(delimiter, at)
      const stop = next < 0 ? text.length : next
      fields.push(text.slice(at, stop))
      at = stop
    }
  }
  return fields
}
