/** A model from files on disk. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Checkpoint, openCheckpoint } from '../store/index.ts'
import { loadTokenizer, tokenizerFromGguf, tokenizerFromLlama2c } from '../text/index.ts'
import { bindModel, type Description, type LoadedModel, parseConfig, parseJson } from './bind.ts'

/** The first of these files that exists in a folder. */
const firstOf = (folder: string, names: readonly string[]): string | undefined =>
  names.map((name) => join(folder, name)).find((path) => existsSync(path))

/**
 * Reads a model: a folder in Hugging Face layout, a `.gguf` file, or a llama2.c `.bin` with its
 * `tokenizer.bin` beside it. Headers only; weights are read or mapped when they are used. Throws, naming
 * file and reason, for anything unknown, missing or misshapen.
 */
export function load(path: string): LoadedModel {
  if (!existsSync(path)) throw new Error(`${path}: there is no such file or folder`)
  const checkpoint = openCheckpoint(path)
  return { ...bindModel(checkpoint, describeFiles(path, checkpoint)), path }
}

/** What GGUF files without a tokenizer say of it. */
const noTokenizer: readonly unknown[] = [undefined, 'none', 'no_vocab']

/** What the files beside a checkpoint say of it. */
export function describeFiles(path: string, checkpoint: Checkpoint): Description {
  const { metadata, format } = checkpoint
  if (format === 'gguf')
    return {
      config: metadata,
      id: String(metadata['general.architecture']),
      source: path,
      tokenizer: () =>
        noTokenizer.includes(metadata['tokenizer.ggml.model'])
          ? undefined
          : tokenizerFromGguf(metadata, path),
    }
  const folder = statSync(path).isDirectory() ? path : dirname(path)
  if (format === 'llama2c') {
    const file = firstOf(folder, ['tokenizer.bin'])
    return {
      config: metadata,
      id: 'llama2.c',
      source: path,
      tokenizer: () => (file ? tokenizerFromLlama2c(file) : undefined),
    }
  }
  const configFile = join(folder, 'config.json')
  if (!existsSync(configFile))
    throw new Error(`${configFile}: missing; a model folder needs its configuration`)
  const file = firstOf(folder, ['tokenizer.json'])
  const generation = firstOf(folder, ['generation_config.json'])
  return {
    ...parseConfig(readFileSync(configFile, 'utf8'), configFile),
    source: configFile,
    tokenizer: () => (file ? loadTokenizer(folder) : undefined),
    ...(generation && { generation: parseJson(readFileSync(generation, 'utf8'), generation) }),
  }
}
