/** Plain text as rows of `{ text }`: documents with a line between them, one a line, or a file each. */
import { type Source, utf8 } from '../../store/source.ts'
import { lineAt, linesOf, openBytes, Spans } from './bytes.ts'
import { stampOf } from './stamp.ts'
import { checkIndex, type Row, type Rows } from './types.ts'

export interface TextOptions {
  /**
   * Where a document ends: at a line that is the separator (default; a file without one is one document), at
   * each line, or with the file.
   */
  readonly documents?: 'separator' | 'line' | 'file'
  /** The whole line between documents, but for spaces around it (default `<|endoftext|>`). */
  readonly separator?: string
}

export const endOfText = '<|endoftext|>'

/**
 * Opens `.txt` or `.txt.gz`, UTF-8. Only the places of documents are held. Line breaks around a document are no part
 * of it, and documents of white space alone are left out. FileError for bytes that are not UTF-8, when their row is
 * asked for, and for a separator such as `<|endoftext|>` amid a line, when the file is opened.
 */
export async function openText(path: string, options: TextOptions = {}): Promise<Rows<Row>> {
  const { documents = 'separator', separator = endOfText } = options
  if (separator.trim() === '' || /[\r\n]/.test(separator))
    throw new RangeError(`the separator ${JSON.stringify(separator)} has to be a line that is not blank`)
  const source = await openBytes(path)
  const spans = new Spans()
  const first = startOfText(source)
  if (documents === 'line') {
    for (const { start, end, window, at } of linesOf(source))
      if (!isBlank(window.subarray(at, at + end - start))) spans.push(Math.max(start, first), end)
  } else {
    let start = first
    if (documents === 'separator')
      for (const line of separatorLines(source, separator.trim())) {
        push(spans, source, start, line.start)
        start = line.end
      }
    push(spans, source, start, source.size)
  }
  return {
    length: spans.length,
    stamp: stampOf(path, documents, documents === 'separator' ? separator : ''),
    at(index) {
      checkIndex(index, spans.length)
      const start = spans.start(index)
      const bytes = source.read(start, spans.end(index) - start)
      const text = utf8(bytes, 0, bytes.length)
      if (text === undefined)
        throw source.error(start, `line ${lineAt(source, start)}: the document that begins here is not UTF-8`)
      return { text }
    },
  }
}

/** Behind a byte order mark. */
export function startOfText(source: Source): number {
  const head = source.read(0, Math.min(3, source.size))
  return head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf ? 3 : 0
}

function* separatorLines(source: Source, separator: string): Generator<{ start: number; end: number }> {
  const mark = Buffer.from(separator)
  const special = /^<.*>$/.test(separator)
  for (const { start, end, window, at } of linesOf(source)) {
    if (end - start < mark.length) continue
    const line = window.subarray(at, at + end - start)
    const found = line.indexOf(mark)
    if (found < 0) continue
    if (line.toString().trim() === separator) yield { start, end }
    else if (special) {
      const reason = `line ${lineAt(source, start)} has the separator ${separator} amid other text`
      throw source.error(start + found, reason, 'Put it on a line of its own, or name another separator')
    }
  }
}

const isBreak = (byte: number | undefined): boolean => byte === 0x0a || byte === 0x0d
/** Whether a line, or a part of one, is white space alone. */
export const isBlank = (bytes: Uint8Array): boolean =>
  bytes.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d))

/** Keeps what is between, without line breaks around it, if there is more to it than white space. */
function push(spans: Spans, source: Source, start: number, end: number): void {
  const edge = 64
  let head = new Uint8Array(0)
  for (; start < end; start++) {
    if (head.length === 0) head = source.read(start, Math.min(edge, end - start))
    if (!isBreak(head[0])) break
    head = head.subarray(1)
  }
  let tail = new Uint8Array(0)
  for (; end > start; end--) {
    if (tail.length === 0) {
      const length = Math.min(edge, end - start)
      tail = source.read(end - length, length)
    }
    if (!isBreak(tail[tail.length - 1])) break
    tail = tail.subarray(0, -1)
  }
  let at = start
  while (at < end && isBlank(source.read(at, Math.min(edge, end - at)))) at += edge
  if (at < end) spans.push(start, end)
}
