/** JSON as rows: an object a line (JSON Lines), or an array of objects. */
import { type Source, utf8 } from '../../store/source.ts'
import { lineAt, linesOf, openBytes, Spans } from './bytes.ts'
import { stampOf } from './stamp.ts'
import { isBlank, startOfText } from './text.ts'
import { checkIndex, type Row, type Rows } from './types.ts'

/**
 * Opens `.jsonl` or `.jsonl.gz`, UTF-8. Only the places of lines are held; blank lines are no rows. A line that does
 * not begin with `{` and end with `}` is a FileError when the file is opened, as after a cut; any other mistake in a
 * line is one when its row is asked for. Both name the line.
 */
export async function openJsonLines(path: string): Promise<Rows<Row>> {
  return jsonLines(await openBytes(path), path)
}

/** Opens `.json` or `.json.gz`: an array of objects, which is held; or, though named so, JSON Lines. */
export async function openJson(path: string): Promise<Rows<Row>> {
  const source = await openBytes(path)
  if (firstByte(source) !== '['.charCodeAt(0)) return jsonLines(source, path)
  if (source.size >= 2 ** 29)
    throw source.error(
      0,
      'is an array of 512 MiB or more',
      'Write it as JSON Lines, one object a line (.jsonl)',
    )
  const rows = parse(source, 0, source.size) as unknown[]
  for (const [index, row] of rows.entries())
    if (!isObject(row)) throw source.error(0, `element ${index} is no object but ${typeName(row)}`)
  return {
    length: rows.length,
    stamp: stampOf(path, 'json'),
    at(index) {
      checkIndex(index, rows.length)
      return rows[index] as Row
    },
  }
}

function jsonLines(source: Source, path: string): Rows<Row> {
  const spans = new Spans()
  const first = startOfText(source)
  let number = 0
  for (const { start: begin, end, window, at } of linesOf(source)) {
    number++
    const start = Math.max(begin, first)
    const line = window.subarray(at + start - begin, at + end - begin)
    if (isBlank(line)) continue
    if (line.indexOf('{') !== firstOf(line) || line.lastIndexOf('}') !== lastOf(line))
      throw source.error(start, `line ${number} is no JSON object: it does not go from { to }`, hint)
    spans.push(start, end)
  }
  return {
    length: spans.length,
    stamp: stampOf(path, 'jsonl'),
    at(index) {
      checkIndex(index, spans.length)
      return parse(source, spans.start(index), spans.end(index)) as Row
    },
  }
}

const hint = 'JSON Lines has one object a line; a file cut short has to be fetched again'

const isSpaceAt = (line: Uint8Array, at: number): boolean => isBlank(line.subarray(at, at + 1))

function firstOf(line: Uint8Array): number {
  let at = 0
  while (isSpaceAt(line, at)) at++
  return at
}

function lastOf(line: Uint8Array): number {
  let at = line.length - 1
  while (isSpaceAt(line, at)) at--
  return at
}

function firstByte(source: Source): number | undefined {
  const head = source.read(0, Math.min(4096, source.size)).subarray(startOfText(source))
  return isBlank(head) ? undefined : head[firstOf(head)]
}

function parse(source: Source, start: number, end: number): unknown {
  const bytes = source.read(start, end - start)
  const place = (): string => `line ${lineAt(source, start)}`
  const text = utf8(bytes, start === 0 ? startOfText(source) : 0, bytes.length)
  if (text === undefined) throw source.error(start, `${place()} is not UTF-8`)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw source.error(start, `${place()} is not JSON (${(error as Error).message})`)
  }
}

const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const typeName = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`
