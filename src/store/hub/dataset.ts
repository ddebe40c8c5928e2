/** A data set's split, from the hub to the cache, or from the cache alone. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { chooseSplit, type SplitChoice } from './datasetFiles.ts'
import { HubError } from './errors.ts'
import { RepoCache } from './repoCache.ts'
import type { HubSettings } from './settings.ts'
import {
  describe,
  enterFiles,
  fetchAbsent,
  type Task,
  type TransferOptions,
  withListing,
} from './transfer.ts'

export interface DatasetReference extends SplitChoice {
  /** `org/name`. */
  readonly repo: string
  /** A branch, a tag or a commit (default `main`). */
  readonly revision?: string | undefined
}

export interface LocatedDataset {
  /** The snapshot's folder. */
  readonly folder: string
  readonly commit: string
  /** Paths in it, in order. */
  readonly files: readonly string[]
}

const cardName = 'README.md'
const inHub = ({ repo }: DatasetReference): string => `datasets/${repo}`

/**
 * The files of a split: from the cache if they are all there, so that a run that is taken up again sees the same
 * rows, else from the hub. `revision` may be a commit, which never changes.
 */
export async function locateDataset(
  reference: DatasetReference,
  settings: HubSettings,
  options: TransferOptions = {},
): Promise<LocatedDataset> {
  const cached = findCachedDataset(reference, settings)
  if (!('problem' in cached)) return cached
  if (settings.offline)
    throw new HubError(`${cached.problem}, and HF_HUB_OFFLINE is set: unset it to fetch what is missing`)
  return pullDataset(reference, settings, options)
}

/** Asks the hub for the newest commit, and brings the files of a split that are not in the cache yet. */
export async function pullDataset(
  reference: DatasetReference,
  settings: HubSettings,
  { signal, onProgress = () => undefined }: TransferOptions = {},
): Promise<LocatedDataset> {
  const { revision = 'main' } = reference
  const repo = inHub(reference)
  if (settings.offline) throw new HubError(`${repo} cannot be pulled: HF_HUB_OFFLINE is set`)
  return withListing(repo, revision, settings, signal, async (task) => {
    const { listing, cache } = task
    const paths = listing.files.map(({ path }) => path).sort()
    const card = await fetchCard(task, paths)
    const chosen = chooseSplit(repo, paths, card, reference)
    const files = await describe(task, paths.includes(cardName) ? [cardName, ...chosen] : chosen)
    await fetchAbsent(task, files, onProgress)
    enterFiles(task, revision, files)
    cache.setListing(listing.commit, paths)
    return { folder: cache.snapshot(listing.commit), commit: listing.commit, files: chosen }
  })
}

/** The text of the card, which says what else is needed. */
async function fetchCard(task: Task, paths: readonly string[]): Promise<string | undefined> {
  if (!paths.includes(cardName)) return undefined
  const [card] = await describe(task, [cardName])
  await fetchAbsent(task, [card!], () => undefined)
  const blob = task.cache.blob(card!)
  const file = existsSync(blob) ? blob : join(task.cache.snapshot(task.listing.commit), cardName)
  return readFileSync(file, 'utf8')
}

/**
 * A split in the cache, if it is all there. That is known of commits that were listed here; of a snapshot by another
 * program only where its files are numbered (`train-00000-of-00003.parquet`).
 */
export function findCachedDataset(
  reference: DatasetReference,
  settings: HubSettings,
): LocatedDataset | { readonly problem: string } {
  const repo = inHub(reference)
  const cache = new RepoCache(repo, settings)
  const commit = cache.commitOf(reference.revision ?? 'main')
  const names = commit === undefined ? [] : cache.names(commit)
  if (commit === undefined || names.length === 0)
    return { problem: `${repo} is not in the cache ${settings.cache}` }
  const folder = cache.snapshot(commit)
  const listed = cache.listing(commit)
  const paths = listed ?? names.filter((name) => !names.some((other) => other.startsWith(`${name}/`)))
  const card = join(folder, cardName)
  if (paths.includes(cardName) && !existsSync(card)) return { problem: `${card} is missing` }
  let files: string[]
  try {
    files = chooseSplit(repo, paths, existsSync(card) ? readFileSync(card, 'utf8') : undefined, reference)
  } catch (error) {
    if (!(error instanceof HubError)) throw error
    return { problem: `${folder}: ${error.message}` }
  }
  const missing =
    files.find((file) => !existsSync(join(folder, file))) ?? (listed ? undefined : missingPart(files))
  if (missing !== undefined) return { problem: `${join(folder, missing)} is missing` }
  if (!listed && !files.every((file) => numbered.test(file)))
    return {
      problem: `${folder} does not say whether it has all files of the split; name it as a path to use what it has`,
    }
  return { folder, commit, files }
}

const numbered = /-(\d{5})-of-(\d{5})(?=[.-])/

/** A part of a numbered series that is not among the files. */
function missingPart(files: readonly string[]): string | undefined {
  for (const file of files) {
    const total = numbered.exec(file)?.[2]
    if (total === undefined) continue
    const part = (number: number): string =>
      file.replace(numbered, `-${`${number}`.padStart(5, '0')}-of-${total}`)
    const missing = Array.from({ length: Number(total) }, (_, i) => part(i)).find(
      (one) => !files.includes(one),
    )
    if (missing !== undefined) return missing
  }
  return undefined
}
