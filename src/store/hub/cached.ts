/** What the cache has of a model, without a word to the hub. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isDangling } from '../file.ts'
import { shardNames } from '../shards.ts'
import { chooseGguf, isGguf, weightIndex, wholeWeights } from './choose.ts'
import { HubError } from './errors.ts'
import { type ModelReference, referenceText } from './reference.ts'
import { RepoCache } from './repoCache.ts'
import type { HubSettings } from './settings.ts'

/** The path to open it by, or why there is none. */
export type Cached = { readonly path: string; readonly commit: string } | { readonly problem: string }

/** A model in the cache: its snapshot's folder, or the GGUF file in it. Half a model is none. */
export function findCached(reference: ModelReference, settings: HubSettings): Cached {
  const cache = new RepoCache(reference.repo, settings)
  const commit = cache.commitOf(reference.revision)
  const names = commit === undefined ? [] : cache.names(commit)
  if (commit === undefined || names.length === 0)
    return { problem: `${referenceText(reference)} is not in the cache ${settings.cache}${begun(cache)}` }
  const folder = cache.snapshot(commit)
  const entry = entryOf(reference, names)
  if ('problem' in entry) return { problem: `${folder}: ${entry.problem}${begun(cache)}` }
  for (const name of needed(folder, entry.name)) {
    const file = join(folder, name)
    if (existsSync(file)) continue
    const fault = isDangling(file) ? 'is a link to a blob that is not there' : 'is missing'
    return { problem: `${file} ${fault}${begun(cache)}` }
  }
  return { path: isGguf(entry.name) ? join(folder, entry.name) : folder, commit }
}

/** The file that opening begins with. */
function entryOf(
  { repo, quant }: ModelReference,
  names: readonly string[],
): { name: string } | { problem: string } {
  const weights = [wholeWeights, weightIndex].find((name) => names.includes(name))
  if (quant === undefined && weights !== undefined) return { name: weights }
  if (quant === undefined && !names.some(isGguf)) return { problem: 'the snapshot has no weights' }
  try {
    return { name: chooseGguf(repo, names, quant) }
  } catch (error) {
    if (!(error instanceof HubError)) throw error
    return { problem: error.message }
  }
}

/** All files that cannot be done without; an index that is not there names none. */
function needed(folder: string, entry: string): string[] {
  if (isGguf(entry)) return [entry]
  const index = join(folder, entry)
  const shards = entry === weightIndex && existsSync(index) ? shardNames(index) : []
  return ['config.json', entry, ...shards]
}

function begun(cache: RepoCache): string {
  const count = cache.unfinished()
  return count === 0 ? '' : `; ${count} download${count === 1 ? '' : 's'} of it did not end (.incomplete)`
}
