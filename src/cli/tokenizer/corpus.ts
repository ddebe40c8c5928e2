/** Texts of files, one after the other, in bounded memory. */
import { createReadStream, statSync } from 'node:fs'
import { createGunzip } from 'node:zlib'

/** A line of this separates the documents of a text file. */
const separator = '<|endoftext|>'
/** Longer documents come in parts, of about so many characters. */
const partLength = 1 << 20

export interface CorpusOptions {
  /** The key of the text in a line of a .jsonl file. */
  readonly field: string
  /** Bytes read of all files, as they are stored. */
  readonly onRead?: (bytes: number) => void
}

/** Bytes of all files, as they are stored; an error that names a file that is not there. */
export function corpusBytes(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + storedBytes(file), 0)
}

function storedBytes(file: string): number {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) throw new Error(`${file}: there is no such file`)
  if (!found.isFile()) throw new Error(`${file}: is not a file`)
  if (!/\.(txt|jsonl)(\.gz)?$/.test(file))
    throw new Error(`${file}: the name must end in .txt, .txt.gz, .jsonl or .jsonl.gz`)
  return found.size
}

/** The documents of text files, and the texts of the lines of .jsonl files. None is empty. */
export async function* corpus(
  files: readonly string[],
  { field, onRead }: CorpusOptions,
): AsyncGenerator<string> {
  corpusBytes(files)
  let bytes = 0
  for (const file of files) {
    const chunks = decoded(file, (count) => {
      bytes += count
      onRead?.(bytes)
    })
    yield* /\.jsonl(\.gz)?$/.test(file) ? jsonTexts(file, chunks, field) : documents(chunks)
  }
}

/** The same without the last documents of each file, of which a run holds out that share; every file is read twice. */
export async function* learnedCorpus(
  files: readonly string[],
  heldOut: number,
  options: CorpusOptions,
): AsyncGenerator<string> {
  if (heldOut === 0) return yield* corpus(files, options)
  let before = 0
  for (const file of files) {
    let count = 0
    for await (const _ of corpus([file], { field: options.field })) count++
    let left = count - Math.ceil(count * heldOut)
    const onRead = (bytes: number): void => options.onRead?.(before + bytes)
    for await (const text of corpus([file], { field: options.field, onRead })) if (left-- > 0) yield text
    before += storedBytes(file)
  }
}

async function* decoded(file: string, onRead: (bytes: number) => void): AsyncGenerator<string> {
  const source = createReadStream(file, { highWaterMark: 1 << 18 })
  source.on('data', (chunk) => onRead(chunk.length))
  const stream = file.endsWith('.gz') ? source.pipe(createGunzip()) : source
  if (stream !== source) source.on('error', (error) => stream.destroy(error))
  const utf8 = new TextDecoder('utf-8', { fatal: true })
  try {
    for await (const chunk of stream) yield utf8.decode(chunk as Buffer, { stream: true })
    yield utf8.decode()
  } catch (error) {
    const notText = (error as NodeJS.ErrnoException).code === 'ERR_ENCODING_INVALID_ENCODED_DATA'
    throw new Error(`${file}: ${notText ? 'is not UTF-8 text' : (error as Error).message}`)
  } finally {
    source.destroy()
  }
}

async function* documents(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  /** Nothing before this is a separator. */
  let searched = 0
  for await (const chunk of chunks) {
    rest += chunk
    for (;;) {
      const at = rest.indexOf(separator, searched)
      const end = at + separator.length
      // What comes next decides whether this is a line of its own.
      if (at < 0 || end + 2 > rest.length) {
        searched = Math.max(searched, at < 0 ? rest.length - separator.length : at)
        break
      }
      if (isLine(rest, at, end)) {
        yield* document(rest.slice(0, at))
        rest = rest.slice(end)
        searched = 0
      } else searched = at + 1
    }
    for (let at = cut(rest, searched); at > 0; at = cut(rest, searched)) {
      yield rest.slice(0, at)
      rest = rest.slice(at)
      searched -= at
    }
  }
  const last = rest.lastIndexOf(separator)
  const isSeparator =
    last >= 0 && /^\r?\n?$/.test(rest.slice(last + separator.length)) && beginsLine(rest, last)
  yield* document(isSeparator ? rest.slice(0, last) : rest)
}

const beginsLine = (text: string, at: number): boolean => at === 0 || text[at - 1] === '\n'
const isLine = (text: string, at: number, end: number): boolean =>
  beginsLine(text, at) && (text[end] === '\n' || text.startsWith('\r\n', end))

/** A document without the line ends that set it apart, unless nothing is left. */
function* document(text: string): Generator<string> {
  const clean = text.replace(/^\r?\n/, '').replace(/\r?\n$/, '')
  if (clean !== '') yield clean
}

/** Where to cut a long text, or 0: before spaces, where no word of GPT-2's goes on, and before `limit`. */
function cut(text: string, limit: number): number {
  if (limit < 2 * partLength) return 0
  const match = /\S(?=\s)/g
  match.lastIndex = partLength
  const at = match.exec(text)?.index ?? limit
  return at < limit ? at + 1 : 0
}

async function* jsonTexts(
  file: string,
  chunks: AsyncIterable<string>,
  field: string,
): AsyncGenerator<string> {
  let rest = ''
  let number = 0
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield* textOf(line, `${file}:${++number}`, field)
  }
  yield* textOf(rest, `${file}:${++number}`, field)
}

function* textOf(line: string, place: string, field: string): Generator<string> {
  if (line.trim() === '') return
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new Error(`${place}: not JSON: ${(error as Error).message}`)
  }
  const text = (value as Record<string, unknown> | null)?.[field]
  if (typeof text !== 'string')
    throw new Error(`${place}: has no text under "${field}": --field names another key`)
  if (text !== '') yield text
}
