/** Texts of files, one after the other, in bounded memory. */
import { createReadStream, statSync } from 'node:fs'
import { createGunzip } from 'node:zlib'

/** A line of this separates the documents of a text file. */
const separator = /(?:^|\r?\n)<\|endoftext\|>\r?(?=\n|$)/
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
  for await (const chunk of chunks) {
    // Only whole lines are looked at: the last one may go on.
    const lineEnd = chunk.lastIndexOf('\n')
    if (lineEnd < 0) {
      rest += chunk
      continue
    }
    const parts = (rest + chunk.slice(0, lineEnd)).split(separator)
    rest = parts.pop()! + chunk.slice(lineEnd)
    for (const part of parts) if (clean(part) !== '') yield clean(part)
    while (rest.length > 2 * partLength) {
      const at = cut(rest)
      if (at === undefined) break
      yield rest.slice(0, at)
      rest = rest.slice(at)
    }
  }
  for (const part of rest.split(separator)) if (clean(part) !== '') yield clean(part)
}

/** A document without the line ends that set it apart. */
const clean = (text: string): string => text.replace(/^\r?\n/, '').replace(/\r?\n$/, '')

/** Where a long text can be cut: before a line end after something else, where no word of GPT-2's goes on. */
function cut(text: string): number | undefined {
  const match = /\S(?=\r?\n)/g
  match.lastIndex = partLength
  const found = match.exec(text)
  // The very end is left alone: a separator may begin there.
  return found && found.index + 1 < text.length - 1000 ? found.index + 1 : undefined
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
