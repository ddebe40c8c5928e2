/** A file for what is too much for memory and can be made again: it goes with the process. */
import { randomBytes } from 'node:crypto'
import { openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { system } from '../../store/file.ts'

export class TemporaryFile {
  readonly path = join(tmpdir(), `glossa-${randomBytes(8).toString('hex')}.tmp`)
  readonly #descriptor = system(this.path, 0, () => openSync(this.path, 'wx+', 0o600))
  size = 0

  constructor() {
    // Its name goes at once, and the system frees it however the process ends. Windows cannot remove an open file.
    if (process.platform === 'win32') process.once('exit', () => rmSync(this.path, { force: true }))
    else rmSync(this.path)
  }

  /** Where the bytes are from now on. */
  append(bytes: Uint8Array): number {
    const offset = this.size
    for (let done = 0; done < bytes.length; ) {
      const at = offset + done
      done += system(this.path, at, () => writeSync(this.#descriptor, bytes, done, bytes.length - done, at))
    }
    this.size += bytes.length
    return offset
  }

  /** Bytes that were appended, in an ArrayBuffer of their own. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer as ArrayBuffer)
    for (let done = 0; done < length; ) {
      const at = offset + done
      const got = system(this.path, at, () => readSync(this.#descriptor, bytes, done, length - done, at))
      if (got === 0) throw new Error(`${this.path}: temporary data is gone at byte ${at}`)
      done += got
    }
    return bytes
  }
}
