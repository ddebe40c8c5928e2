/** Files of text by position: plain, or gzipped and unpacked once. */
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { fileError, SourceFile, stat } from '../../store/file.ts'
import { FileError, MemorySource, Source } from '../../store/source.ts'
import { TemporaryFile } from './temporary.ts'

/** What unpacks to less is held in memory; more goes into a temporary file that ends with the process. */
const heldSize = 256 * 2 ** 20

/** A file's bytes. Names that end in `.gz` are unpacked; a cut or damaged one is a FileError. */
export async function openBytes(path: string, held = heldSize): Promise<Source> {
  if (!/\.gz$/i.test(path)) return new SourceFile(path)
  if (!stat(path).isFile()) throw new FileError(path, 0, 'is not a file')
  return (await unpackInMemory(path, held)) ?? unpackToDisk(path)
}

async function unpackInMemory(path: string, held: number): Promise<Source | undefined> {
  const pieces: Buffer[] = []
  let size = 0
  const collect = async (unpacked: AsyncIterable<Buffer>): Promise<void> => {
    for await (const piece of unpacked) {
      size += piece.length
      if (size > held) throw new Error('is more than shall be held')
      pieces.push(piece)
    }
  }
  try {
    await unpack(path, collect)
  } catch (error) {
    if (size > held) return undefined
    throw error
  }
  return new MemorySource(path, Buffer.concat(pieces))
}

async function unpackToDisk(path: string): Promise<Source> {
  const file = new TemporaryFile()
  await unpack(path, async (unpacked) => {
    for await (const piece of unpacked) file.append(piece)
  })
  return new UnpackedFile(path, file)
}

/** Errors of reading name the file that the user knows. */
class UnpackedFile extends Source {
  readonly onDisk = undefined
  readonly #file: TemporaryFile

  constructor(path: string, file: TemporaryFile) {
    super(path, file.size)
    this.#file = file
  }

  protected take(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return this.#file.read(offset, length)
  }
}

async function unpack(path: string, use: (unpacked: AsyncIterable<Buffer>) => Promise<void>): Promise<void> {
  const packed = createReadStream(path)
  const unpacked = createGunzip()
  try {
    await pipeline(packed, unpacked, use)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (!code.startsWith('Z_')) throw fileError(path, 0, error)
    const reason = `is not a whole gzip file (${(error as Error).message})`
    throw new FileError(path, packed.bytesRead, reason, 'It is cut short or damaged: fetch it again')
  }
}

const windowSize = 4 * 2 ** 20

/** The lines of a file in order: where each begins and ends, its line break (\n or \r\n) left out. */
export function* linesOf(
  source: Source,
): Generator<{ start: number; end: number; window: Buffer; at: number }> {
  let start = 0
  let rest: Buffer = Buffer.alloc(0)
  for (let offset = 0; offset < source.size; ) {
    const fresh = source.read(offset, Math.min(windowSize, source.size - offset))
    const window = rest.length > 0 ? Buffer.concat([rest, fresh]) : Buffer.from(fresh.buffer)
    offset += fresh.length
    let at = 0
    for (let found = window.indexOf(0x0a, rest.length); found >= 0; found = window.indexOf(0x0a, at)) {
      const length = found - at - (found > at && window[found - 1] === 0x0d ? 1 : 0)
      yield { start, end: start + length, window, at }
      start += found + 1 - at
      at = found + 1
    }
    rest = window.subarray(at)
  }
  if (rest.length > 0) yield { start, end: start + rest.length, window: rest, at: 0 }
}

/** The number, from 1, of the line that a byte is in. */
export function lineAt(source: Source, offset: number): number {
  let line = 0
  for (const { start } of linesOf(source)) {
    if (start > offset) break
    line++
  }
  return Math.max(line, 1)
}

/** Pairs of start and end, as many as there are: 16 bytes a row instead of the row. */
export class Spans {
  #offsets = new Float64Array(1024)
  length = 0

  push(start: number, end: number): void {
    if (2 * this.length === this.#offsets.length) {
      const larger = new Float64Array(2 * this.#offsets.length)
      larger.set(this.#offsets)
      this.#offsets = larger
    }
    this.#offsets[2 * this.length] = start
    this.#offsets[2 * this.length + 1] = end
    this.length++
  }

  start(index: number): number {
    return this.#offsets[2 * index]!
  }

  end(index: number): number {
    return this.#offsets[2 * index + 1]!
  }
}
