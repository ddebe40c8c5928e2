/** Files of a repository, from the hub to the cache: what models and data sets share. */
import { HubClient, type Listing, type RemoteFile } from './client.ts'
import { download } from './download.ts'
import { HubError } from './errors.ts'
import { RepoCache } from './repoCache.ts'
import type { HubSettings } from './settings.ts'

export interface TransferOptions {
  /** Stops it; what has come stays for the next time. */
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes that are there, of those that have to be fetched. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** What all steps of one pull share. */
export interface Task {
  readonly client: HubClient
  readonly listing: Listing
  readonly cache: RepoCache
  readonly stop: AbortController
}

/** Lists a revision, and lets `work` fetch of it; one failure stops all connections. */
export async function withListing<T>(
  repo: string,
  revision: string,
  settings: HubSettings,
  signal: AbortSignal | undefined,
  work: (task: Task) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const forward = (): void => stop.abort(signal?.reason)
  signal?.addEventListener('abort', forward)
  try {
    signal?.throwIfAborted()
    const client = new HubClient(settings, stop.signal)
    const listing = await client.list(repo, revision)
    return await work({ client, listing, cache: new RepoCache(repo, settings), stop })
  } finally {
    signal?.removeEventListener('abort', forward)
  }
}

/** Sizes and etags of files. */
export async function describe({ client, listing }: Task, paths: readonly string[]): Promise<RemoteFile[]> {
  const listed = new Map(listing.files.map((file) => [file.path, file]))
  return Promise.all(
    paths.map((path) => {
      const file = listed.get(path)
      if (file === undefined) throw new HubError(`${listing.repo} has no ${path}, which its index names`)
      return client.describe(listing, file)
    }),
  )
}

const connections = 4

/** Fetches the blobs that are not there, and gives their files. */
export async function fetchAbsent(
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

/**
 * Puts fetched files into the snapshot, and points the revision to it; gives those that were not in it. A cache that
 * has all may be read-only.
 */
export function enterFiles(
  { cache, listing }: Task,
  revision: string,
  files: readonly RemoteFile[],
): RemoteFile[] {
  const { commit } = listing
  const absent = files.filter((file) => !cache.has(commit, file))
  for (const file of absent) cache.link(commit, file)
  cache.dropCopied(commit, absent)
  cache.setCommit(revision, commit)
  if (absent.length > 0) cache.tag()
  return absent
}
