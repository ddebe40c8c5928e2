/**
 * A file of the cache while it is being downloaded: `blobs/<etag>.incomplete`, and under a name of the
 * process's own while it is at work on it, so that no two write to the same file. A rename takes it over, which
 * succeeds for one of two that try; the other begins its own. What a killed process has left is taken over too.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileError } from '../file.ts'
import type { RemoteFile } from './client.ts'

export class PartialBlob {
  /** Bytes that it has: the first ones of the file. */
  size = 0
  readonly file: RemoteFile
  readonly #blob: string
  readonly #path: string
  readonly #handle: FileHandle
  #hash: Hash | undefined

  private constructor(blob: string, path: string, handle: FileHandle, file: RemoteFile) {
    this.#blob = blob
    this.#path = path
    this.#handle = handle
    this.file = file
    this.#hash = hashOf(file)
  }

  /** The part of this blob that an earlier run has left, or an empty one. */
  static async claim(blob: string, file: RemoteFile): Promise<PartialBlob> {
    const path = `${blob}.${host}-${process.pid}-${randomBytes(4).toString('hex')}.incomplete`
    const inherited = leftovers(blob).some((left) => moved(left, path))
    const handle = await open(path, inherited ? 'r+' : 'wx+').catch((error) => {
      throw fileError(path, 0, error)
    })
    const partial = new PartialBlob(blob, path, handle, file)
    const { size } = statSync(path)
    if (size > file.size) await partial.restart()
    else if (size > 0) {
      for await (const bytes of createReadStream(path)) partial.#hash?.update(bytes)
      partial.size = size
    }
    return partial
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.#system(async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.size + done)
        done += bytesWritten
      }
    })
    this.#hash?.update(bytes)
    this.size += bytes.length
  }

  async restart(): Promise<void> {
    await this.#system(() => this.#handle.truncate(0))
    this.#hash = hashOf(this.file)
    this.size = 0
  }

  /** Whether all bytes are there and are those that the etag names. Asked once. */
  isWhole(): boolean {
    if (this.size !== this.file.size) return false
    return this.#hash === undefined || this.#hash.digest('hex') === this.file.etag
  }

  /** Makes it the blob: on the disk first, then under its name. */
  async finish(): Promise<void> {
    await this.#system(() => this.#handle.sync())
    await this.#handle.close()
    await this.#system(async () => renameSync(this.#path, this.#blob))
    // What another process has left in the meantime is of no use any more.
    rmSync(`${this.#blob}.incomplete`, { force: true })
  }

  /** Leaves what there is for the next run, unless another process has got all. */
  async release(): Promise<void> {
    await this.#handle.close()
    if (this.size > 0 && !existsSync(this.#blob)) moved(this.#path, `${this.#blob}.incomplete`)
    else rmSync(this.#path, { force: true })
  }

  async #system(call: () => Promise<unknown>): Promise<void> {
    try {
      await call()
    } catch (error) {
      throw fileError(this.#path, this.size, error)
    }
  }
}

/** Of the machine: processes of other machines may share the cache, and their ids say nothing here. */
const host = createHash('sha256').update(hostname()).digest('hex').slice(0, 8)

/** What other runs have left of a blob: set down by them, or held by a process of this machine that has died. */
function leftovers(blob: string): string[] {
  const start = `${basename(blob)}.`
  const folder = dirname(blob)
  return readdirSync(folder)
    .filter((name) => name.startsWith(start) && name.endsWith('.incomplete'))
    .filter((name) => {
      if (name === `${start}incomplete`) return true
      const [, machine, id] = /^(\w+)-(\d+)-\w+\.incomplete$/.exec(name.slice(start.length)) ?? []
      return machine === host && !isAlive(Number(id))
    })
    .map((name) => join(folder, name))
}

function isAlive(id: number): boolean {
  try {
    process.kill(id, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Whether a rename succeeded; another process may have been faster. */
function moved(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch {
    return false
  }
}

/** What makes the etag of a content: sha256, or git's sha1 with its header. Other etags are not hashes. */
function hashOf({ etag, size }: RemoteFile): Hash | undefined {
  if (/^[\da-f]{64}$/.test(etag)) return createHash('sha256')
  if (/^[\da-f]{40}$/.test(etag)) return createHash('sha1').update(`blob ${size}\0`)
  return undefined
}
