/** Files, read by position and written whole or not at all. Everything that can go wrong is a FileError. */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { FileError, Source } from './source.ts'

const explanations: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EISDIR: 'is a folder',
  ENOTDIR: 'part of the path is not a folder',
  ENOSPC: 'no space left on the device',
}

/** An error of the operating system as a FileError. */
export function fileError(file: string, offset: number, error: unknown): FileError {
  const { code, message } = error as NodeJS.ErrnoException
  return new FileError(file, offset, explanations[code ?? ''] ?? message)
}

/** The result of a call to the operating system, whose errors become FileErrors. */
export function system<T>(file: string, offset: number, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw fileError(file, offset, error)
  }
}

/** Size and kind of what lies at a path; FileError if there is nothing. */
export function stat(path: string): Stats {
  if (isDangling(path))
    throw new FileError(
      path,
      0,
      'is a link to a file that is not there',
      'Its download did not end: glossa pull brings the rest',
    )
  return system(path, 0, () => statSync(path))
}

/** Whether a path is a link to nothing, as where a download into the Hugging Face cache was cut off. */
export const isDangling = (path: string): boolean => !existsSync(path) && isLink(path)

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    return false
  }
}

// Node refuses to read or write 2 GiB or more in one call.
const chunk = 2 ** 30

/** A regular file: opened by the first reading, closed by `using`, and opened again by a later one. */
export class SourceFile extends Source {
  #descriptor: number | undefined
  #onDisk: string | undefined

  constructor(path: string) {
    const found = stat(path)
    if (!found.isFile()) throw new FileError(path, 0, found.isDirectory() ? 'is a folder' : 'is not a file')
    super(path, found.size)
    this.#descriptor = this.#open()
  }

  #open(): number {
    return system(this.path, 0, () => openSync(this.path, 'r'))
  }

  get onDisk(): string {
    this.#onDisk ??= system(this.path, 0, () => realpathSync(this.path))
    return this.#onDisk
  }

  protected take(offset: number, length: number): Uint8Array<ArrayBuffer> {
    this.#descriptor ??= this.#open()
    const descriptor = this.#descriptor
    const bytes = system(
      this.path,
      offset,
      () => new Uint8Array(Buffer.allocUnsafeSlow(length).buffer as ArrayBuffer),
    )
    for (let done = 0; done < length; ) {
      const at = offset + done
      const got = system(this.path, at, () =>
        readSync(descriptor, bytes, done, Math.min(chunk, length - done), at),
      )
      if (got === 0) throw this.error(at, 'the file was cut short while it was being read')
      done += got
    }
    return bytes
  }

  override [Symbol.dispose](): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}

/** Appends bytes to a file being written. */
export type Put = (bytes: ArrayBufferView) => void

/**
 * A file being written so that at any moment `path` holds the old content or all of the new: into a temporary file
 * beside it, which `commit` flushes to the disk and renames. Without that, `using` leaves the old content.
 */
export class AtomicFile {
  readonly #path: string
  readonly #temporary: string
  #descriptor: number | undefined
  #written = 0

  constructor(path: string) {
    this.#path = path
    this.#temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
    this.#descriptor = system(path, 0, () => openSync(this.#temporary, 'wx'))
  }

  put(bytes: ArrayBufferView): void {
    this.putAt(this.#written, bytes)
    this.#written += bytes.byteLength
  }

  /** Writes over what was written, or leaves room before it. `put` goes on where it was. */
  putAt(offset: number, { buffer, byteOffset, byteLength }: ArrayBufferView): void {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    for (let done = 0; done < byteLength; ) {
      const length = Math.min(chunk, byteLength - done)
      const at = offset + done
      done += system(this.#path, at, () => writeSync(this.#descriptor!, bytes, done, length, at))
    }
  }

  commit(): void {
    system(this.#path, this.#written, () => fsyncSync(this.#descriptor!))
    this.#close()
    system(this.#path, 0, () => renameSync(this.#temporary, this.#path))
    if (process.platform !== 'win32') syncFolder(dirname(this.#path))
  }

  #close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  [Symbol.dispose](): void {
    this.#close()
    rmSync(this.#temporary, { force: true })
  }
}

/** Writes a file whole or not at all. If `write` throws, the old content stays and nothing is left over. */
export function writeAtomic(path: string, write: (put: Put) => void): void {
  using file = new AtomicFile(path)
  write((bytes) => file.put(bytes))
  file.commit()
}

/** Makes a rename in a folder durable. */
function syncFolder(folder: string): void {
  const descriptor = system(folder, 0, () => openSync(folder, 'r'))
  try {
    system(folder, 0, () => fsyncSync(descriptor))
  } finally {
    closeSync(descriptor)
  }
}
