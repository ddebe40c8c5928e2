/** Bytes read by position, wherever they are, and what can be wrong with them. */

/** What is wrong with a file, at which byte of it, and where there is one, the way out. */
export class FileError extends Error {
  override readonly name = 'FileError'
  readonly file: string
  readonly offset: number
  readonly reason: string

  constructor(file: string, offset: number, reason: string, hint?: string) {
    super(`${file}: at byte ${offset}: ${reason}${hint === undefined ? '' : `. ${hint}`}`)
    this.file = file
    this.offset = offset
    this.reason = reason
  }
}

/** A file, or bytes that were fetched. */
export abstract class Source {
  /** For messages. */
  readonly path: string
  readonly size: number
  /** Where the bytes lie on disk, links resolved, if a program may map them. */
  abstract readonly onDisk: string | undefined

  constructor(path: string, size: number) {
    this.path = path
    this.size = size
  }

  /** Exactly `length` bytes from `offset`, in an ArrayBuffer of their own. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (offset + length > this.size)
      throw this.error(
        offset,
        `needs ${length} bytes here, but the file ends at ${this.size}`,
        'The file is cut short or damaged: fetch it again',
      )
    return this.take(offset, length)
  }

  protected abstract take(offset: number, length: number): Uint8Array<ArrayBuffer>

  error(offset: number, reason: string, hint?: string): FileError {
    return new FileError(this.path, offset, reason, hint)
  }

  /** Lets go of what reading holds; it can be read again. */
  [Symbol.dispose](): void {}
}

/** Bytes in memory, under the name of the file that they came from. */
export class MemorySource extends Source {
  readonly onDisk = undefined
  readonly #bytes: Uint8Array

  constructor(path: string, bytes: Uint8Array) {
    super(path, bytes.length)
    this.#bytes = bytes
  }

  protected take(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes.subarray(offset, offset + length))
  }
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text of UTF-8 bytes from `start` to `end`; undefined if they are not valid UTF-8. */
export function utf8(bytes: Uint8Array, start: number, end: number): string | undefined {
  try {
    return strict.decode(bytes.subarray(start, end))
  } catch {
    return undefined
  }
}

/** A name as it appears in messages: quoted, control characters escaped, cut to 80 characters. */
export const quote = (name: string): string =>
  JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name)
