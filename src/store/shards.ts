/**
 * A checkpoint in several safetensors files, and the index that says which tensor is in which:
 *
 *   {"metadata": {"total_size": 123}, "weight_map": {"tensor": "model-00001-of-00002.safetensors"}}
 *
 * Layout: https://huggingface.co/docs/transformers/big_models
 */
import { dirname, join } from 'node:path'
import type { Checkpoint, TensorEntry } from './checkpoint.ts'
import { SourceFile } from './file.ts'
import { JsonReader } from './json.ts'
import { openSafetensors } from './safetensors.ts'
import { type FileError, quote } from './source.ts'

// A plain file name: no folder, no drive, nothing that does not print.
const besideIndex = /^[^/\\:\p{Cc}]{1,240}\.safetensors$/u

const indexLimit = 100_000_000

/**
 * Opens `model.safetensors.index.json` and every file it names, which must lie beside it and hold the tensors
 * it says, else FileError. The index decides: tensors that it does not name are not part of the checkpoint.
 * Metadata is that of the index.
 */
export function openShards(path: string): Checkpoint {
  const shards = new Map<string, Checkpoint>()
  const tensors = new Map<string, TensorEntry>()
  const metadata = readIndex(path, (name, file, error) => {
    if (!shards.has(file)) shards.set(file, openSafetensors(join(dirname(path), file)))
    const entry = shards.get(file)?.tensors.get(name)
    if (entry === undefined) throw error(`tensor ${quote(name)} is not in ${quote(file)}`)
    tensors.set(name, entry)
  })
  return { path, format: 'safetensors', tensors, metadata }
}

/** The names of the files that an index names. */
export function shardNames(path: string): string[] {
  const files = new Set<string>()
  readIndex(path, (_, file) => files.add(file))
  return [...files].sort()
}

/** Reads an index: `visit` gets each tensor's name and file, and what makes an error of its place. */
function readIndex(
  path: string,
  visit: (tensor: string, file: string, error: (reason: string) => FileError) => void,
): Record<string, unknown> {
  let metadata: Record<string, unknown> = Object.create(null)
  let mapped = false
  const json = readJson(path)
  json.object((key) => {
    if (key === 'weight_map') {
      mapped = true
      json.object((name, offset) => {
        const error = (reason: string): FileError => json.error(offset, reason)
        const file = json.string()
        if (!besideIndex.test(file))
          throw error(`tensor ${quote(name)} is said to be in ${quote(file)}, not a file beside the index`)
        visit(name, file, error)
      })
    } else if (key === 'metadata') metadata = json.record()
    else json.value()
  })
  json.end()
  if (!mapped) throw json.error(0, 'weight_map is missing')
  return metadata
}

function readJson(path: string): JsonReader {
  using file = new SourceFile(path)
  if (file.size > indexLimit)
    throw file.error(0, `an index of ${file.size} bytes is over the limit of ${indexLimit}`)
  return new JsonReader(path, 0, file.read(0, file.size))
}
