/** A model, from the hub to the cache. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { shardNames } from '../shards.ts'
import { chooseFiles, isGguf, sideFiles, weightIndex } from './choose.ts'
import { HubClient, type Listing, type RemoteFile } from './client.ts'
import { download } from './download.ts'
import { HubError } from './errors.ts'
import { type ModelReference, referenceText } from './reference.ts'
import { RepoCache } from './repoCache.ts'
import type { HubSettings } from './settings.ts'

export interface PullOptions {
  /** One file by its name, and nothing else. */
  readonly file?: string | undefined
  /** Stops it; what has come stays for the next time. */
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes that are there, of those that have to be fetched. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export interface Pulled {
  /** To open it by: the snapshot's folder, or the GGUF file in it. */
  readonly path: string
  readonly commit: string
  readonly files: readonly RemoteFile[]
  /** Those that were not there before. */
  readonly fetched: readonly RemoteFile[]
}

/**
 * Brings the files of a model that are not in the cache yet. A snapshot gets its files when all are there,
 * weights last, and the revision points to it after that: whatever is cut off, no half model looks whole.
 */
export async function pull(
  reference: ModelReference,
  settings: HubSettings,
  { file, signal, onProgress = () => undefined }: PullOptions = {},
): Promise<Pulled> {
  const { repo, revision, quant } = reference
  if (settings.offline)
    throw new HubError(`${referenceText(reference)} cannot be pulled: HF_HUB_OFFLINE is set`)
  // One failure stops all connections.
  const stop = new AbortController()
  const forward = (): void => stop.abort(signal?.reason)
  signal?.addEventListener('abort', forward)
  try {
    signal?.throwIfAborted()
    const client = new HubClient(settings, stop.signal)
    const listing = await client.list(repo, revision)
    const task: Task = { client, listing, cache: new RepoCache(repo, settings), stop }
    const paths = listing.files.map(({ path }) => path)
    const files = await describe(task, chooseFiles(repo, paths, { quant, file }))
    const fetched: RemoteFile[] = []
    if (files.at(-1)?.path === weightIndex) {
      fetched.push(...(await fetchAbsent(task, files.slice(-1), () => undefined)))
      files.splice(-1, 0, ...(await describe(task, shardsOf(task, files.at(-1)!))))
    }
    fetched.push(...(await fetchAbsent(task, files, onProgress)))
    return { ...enter(task, revision, files), commit: listing.commit, files, fetched }
  } finally {
    signal?.removeEventListener('abort', forward)
  }
}

/** What all steps of one pull share. */
interface Task {
  readonly client: HubClient
  readonly listing: Listing
  readonly cache: RepoCache
  readonly stop: AbortController
}

/** Sizes and etags of files. */
async function describe({ client, listing }: Task, paths: readonly string[]): Promise<RemoteFile[]> {
  const listed = new Map(listing.files.map((file) => [file.path, file]))
  return Promise.all(
    paths.map((path) => {
      const file = listed.get(path)
      if (file === undefined) throw new HubError(`${listing.repo} has no ${path}, which its index names`)
      return client.describe(listing, file)
    }),
  )
}

/** The files that the index names; it is a blob, and in the snapshot if that was pulled before. */
function shardsOf({ cache, listing }: Task, index: RemoteFile): string[] {
  const blob = cache.blob(index)
  return shardNames(existsSync(blob) ? blob : join(cache.snapshot(listing.commit), index.path))
}

const connections = 4

/** Fetches the blobs that are not there, and gives their files. */
async function fetchAbsent(
  { client, listing, cache, stop }: Task,
  files: readonly RemoteFile[],
  onProgress: (done: number, total: number) => void,
): Promise<RemoteFile[]> {
  const absent = files.filter((file) => !cache.has(listing.commit, file) && !cache.hasBlob(file))
  const total = absent.reduce((sum, { size }) => sum + size, 0)
  const sizes = new Map<string, number>()
  const queue = new Map(absent.map((file) => [file.etag, file])).values()
  const connection = async (): Promise<void> => {
    for (const file of queue) {
      const onSize = (size: number): void => {
        sizes.set(file.path, size)
        const done = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0)
        onProgress(done, total)
      }
      await download(client, listing, file, cache.blob(file), onSize)
    }
  }
  const guarded = (): Promise<void> => connection().catch((error) => stop.abort(error))
  await Promise.all(Array.from({ length: connections }, guarded))
  stop.signal.throwIfAborted()
  return absent
}

/** Makes the snapshot of blobs, and gives the path to open it by. A cache that has all may be read-only. */
function enter({ cache, listing }: Task, revision: string, files: readonly RemoteFile[]): { path: string } {
  const { commit } = listing
  const absent = files.filter((file) => !cache.has(commit, file))
  for (const file of absent) cache.link(commit, file)
  cache.dropCopied(commit, absent)
  cache.setCommit(revision, commit)
  if (absent.length > 0) {
    const listed = new Set(listing.files.map(({ path }) => path))
    for (const path of sideFiles) if (!listed.has(path)) cache.setMissing(commit, path)
    cache.tag()
  }
  const folder = cache.snapshot(commit)
  const gguf = files.length === 1 && isGguf(files[0]!.path)
  return { path: gguf ? join(folder, files[0]!.path) : folder }
}
