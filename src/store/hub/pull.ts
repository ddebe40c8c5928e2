/** A model, from the hub to the cache. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { shardNames } from '../shards.ts'
import { chooseFiles, isGguf, sideFiles, weightIndex } from './choose.ts'
import type { RemoteFile } from './client.ts'
import { HubError } from './errors.ts'
import { type ModelReference, referenceText } from './reference.ts'
import type { HubSettings } from './settings.ts'
import {
  describe,
  enterFiles,
  fetchAbsent,
  type Task,
  type TransferOptions,
  withListing,
} from './transfer.ts'

export interface PullOptions extends TransferOptions {
  /** One file by its name, and nothing else. */
  readonly file?: string | undefined
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
  return withListing(repo, revision, settings, signal, async (task) => {
    const { listing } = task
    const paths = listing.files.map(({ path }) => path)
    const files = await describe(task, chooseFiles(repo, paths, { quant, file }))
    const fetched: RemoteFile[] = []
    if (files.at(-1)?.path === weightIndex) {
      fetched.push(...(await fetchAbsent(task, files.slice(-1), () => undefined)))
      files.splice(-1, 0, ...(await describe(task, shardsOf(task, files.at(-1)!))))
    }
    fetched.push(...(await fetchAbsent(task, files, onProgress)))
    return { ...enter(task, revision, files), commit: listing.commit, files, fetched }
  })
}

/** The files that the index names; it is a blob, and in the snapshot if that was pulled before. */
function shardsOf({ cache, listing }: Task, index: RemoteFile): string[] {
  const blob = cache.blob(index)
  return shardNames(existsSync(blob) ? blob : join(cache.snapshot(listing.commit), index.path))
}

/** Makes the snapshot of blobs, and gives the path to open it by. */
function enter(task: Task, revision: string, files: readonly RemoteFile[]): { path: string } {
  const { cache, listing } = task
  if (enterFiles(task, revision, files).length > 0) {
    const listed = new Set(listing.files.map(({ path }) => path))
    for (const path of sideFiles) if (!listed.has(path)) cache.setMissing(listing.commit, path)
  }
  const folder = cache.snapshot(listing.commit)
  const gguf = files.length === 1 && isGguf(files[0]!.path)
  return { path: gguf ? join(folder, files[0]!.path) : folder }
}
