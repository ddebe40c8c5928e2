/**
 * A model's folder in the Hugging Face cache, which glossa shares with `huggingface_hub`:
 *
 *   models--org--name/
 *     blobs/<etag>                contents
 *     snapshots/<commit>/<path>   links to them, relative; the files themselves where there are no links
 *     refs/<revision>             the commit that a branch or tag was when it was last asked for
 *     .no_exist/<commit>/<path>   empty: this commit is known not to have the file
 *     .listing/<commit>.json      the paths of all files of the commit, for data sets (ours)
 *
 * and a data set's, datasets--org--name.
 *
 * https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
import { randomBytes } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { system, writeAtomic } from '../file.ts'
import type { RemoteFile } from './client.ts'
import { isCommit, withKind } from './reference.ts'
import type { HubSettings } from './settings.ts'

export class RepoCache {
  readonly folder: string
  readonly #settings: HubSettings

  constructor(repo: string, settings: HubSettings) {
    this.#settings = settings
    this.folder = join(settings.cache, withKind(repo).replaceAll('/', '--'))
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** The path of a blob, in a folder that exists. */
  blob({ etag }: RemoteFile): string {
    return join(made(join(this.folder, 'blobs')), etag)
  }

  /** The commit of a revision, as far as the cache knows. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return revision
    const file = join(this.folder, 'refs', revision)
    const text = existsSync(file) && statSync(file).isFile() ? readFileSync(file, 'utf8').trim() : ''
    return isCommit(text) ? text : undefined
  }

  setCommit(revision: string, commit: string): void {
    if (isCommit(revision) || this.commitOf(revision) === commit) return
    const file = join(this.folder, 'refs', revision)
    made(dirname(file))
    writeAtomic(file, (put) => put(Buffer.from(commit)))
  }

  /** Whether a snapshot has a file. What it holds was verified when it came. */
  has(commit: string, file: RemoteFile): boolean {
    return sizeOf(join(this.snapshot(commit), file.path)) === file.size
  }

  hasBlob(file: RemoteFile): boolean {
    return sizeOf(this.blob(file)) === file.size
  }

  /** The files of a snapshot, by their paths in it. */
  names(commit: string): string[] {
    const folder = this.snapshot(commit)
    if (!existsSync(folder)) return []
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    return names.map((name) => name.split(sep).join('/')).sort()
  }

  /** How many downloads have begun and not ended. */
  unfinished(): number {
    const blobs = join(this.folder, 'blobs')
    return existsSync(blobs) ? readdirSync(blobs).filter((name) => name.endsWith('.incomplete')).length : 0
  }

  /** Puts a blob that is there into a snapshot. */
  link(commit: string, file: RemoteFile): void {
    const path = join(this.snapshot(commit), file.path)
    const blob = this.blob(file)
    const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`
    made(dirname(path))
    try {
      const linked =
        (this.#settings.symlinks && succeeds(() => symlinkSync(relative(dirname(path), blob), temporary))) ||
        succeeds(() => linkSync(blob, temporary))
      if (!linked) system(path, 0, () => copyFileSync(blob, temporary))
      system(path, 0, () => renameSync(temporary, path))
    } finally {
      rmSync(temporary, { force: true })
    }
  }

  /** Removes the blobs of files that a snapshot holds itself: nothing would find the second copy. */
  dropCopied(commit: string, files: readonly RemoteFile[]): void {
    for (const file of files)
      if (!lstatSync(join(this.snapshot(commit), file.path)).isSymbolicLink())
        rmSync(this.blob(file), { force: true })
  }

  setMissing(commit: string, path: string): void {
    const file = join(this.folder, '.no_exist', commit, path)
    if (existsSync(file)) return
    made(dirname(file))
    system(file, 0, () => writeFileSync(file, ''))
  }

  /** All files that a commit has, in the snapshot or not; undefined where they were never listed. */
  listing(commit: string): string[] | undefined {
    const file = join(this.folder, '.listing', `${commit}.json`)
    return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as string[]) : undefined
  }

  setListing(commit: string, paths: readonly string[]): void {
    const file = join(this.folder, '.listing', `${commit}.json`)
    if (existsSync(file)) return
    made(dirname(file))
    writeAtomic(file, (put) => put(Buffer.from(JSON.stringify(paths))))
  }

  /** Tells programs that make backups that everything here can be had again. */
  tag(): void {
    const file = join(made(this.#settings.cache), 'CACHEDIR.TAG')
    if (!existsSync(file)) system(file, 0, () => writeFileSync(file, tag))
  }
}

// https://bford.info/cachedir
const tag = `Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag of Hugging Face's cache of models, shared by glossa and huggingface_hub.
`

function made(folder: string): string {
  system(folder, 0, () => mkdirSync(folder, { recursive: true }))
  return folder
}

const sizeOf = (path: string): number | undefined =>
  system(path, 0, () => statSync(path, { throwIfNoEntry: false }))?.size

/** Windows needs a right for links, and some file systems have none. */
function succeeds(call: () => void): boolean {
  try {
    call()
    return true
  } catch {
    return false
  }
}
