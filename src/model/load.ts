/** From files to a decoder: its description, its parameters by name, its tokenizer. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Shape } from '../array/index.ts'
import { type Checkpoint, openCheckpoint } from '../store/index.ts'
import { loadTokenizer, type Tokenizer, tokenizerFromGguf, tokenizerFromLlama2c } from '../text/index.ts'
import type { DecoderNames, Described, Family } from './families/family.ts'
import { familyOf } from './families/index.ts'
import { parameterShapes } from './shapes.ts'
import type { DecoderParams, DecoderSpec } from './spec.ts'
import { tensorOf } from './storage.ts'

export interface LoadedModel {
  readonly path: string
  readonly family: string
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  /** Names of the parameters in the checkpoint, in the shape of `params`. */
  readonly names: DecoderNames
  readonly tokenizer: Tokenizer | undefined
  /** Tokens that end a text, by the model's own configuration. */
  readonly ends: readonly number[]
}

/** Binds names to tensors. Missing, misshapen and unexpected tensors are one error that lists them. */
export function bind(
  checkpoint: Checkpoint,
  shapes: ReadonlyMap<string, Shape>,
  names: unknown,
  ignore: ((name: string) => boolean) | undefined,
): unknown {
  const problems: string[] = []
  for (const [name, shape] of shapes) {
    const entry = checkpoint.tensors.get(name)
    if (!entry) problems.push(`'${name}' is missing`)
    else if (`${entry.shape}` !== `${shape}`)
      problems.push(`'${name}' is [${entry.shape.join(', ')}], not [${shape.join(', ')}]`)
  }
  for (const name of checkpoint.tensors.keys())
    if (!shapes.has(name) && !ignore?.(name)) problems.push(`'${name}' has no place in the model`)
  if (problems.length > 0) {
    const shown = problems.slice(0, 8).join('; ')
    const more = problems.length > 8 ? ` and ${problems.length - 8} more` : ''
    throw new Error(`${checkpoint.path}: the weights do not fit the configuration: ${shown}${more}`)
  }
  return replaceNames(names, (name) => tensorOf(checkpoint.tensors.get(name)!))
}

/** The tree with a function of each name in its place. */
export function replaceNames(tree: unknown, f: (name: string) => unknown): unknown {
  if (typeof tree === 'string') return f(tree)
  if (Array.isArray(tree)) return tree.map((child) => replaceNames(child, f))
  if (typeof tree !== 'object' || tree === null) return tree
  return Object.fromEntries(Object.entries(tree).map(([key, child]) => [key, replaceNames(child, f)]))
}

function readJson(path: string): unknown {
  const text = readFileSync(path, 'utf8')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`${path}: not valid JSON: ${(error as Error).message}`)
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

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
  const { config, id, source, tokenizer } = describeFiles(path, checkpoint)
  let family: Family
  let described: Described
  try {
    family = familyOf(checkpoint.format, id)
    described = family.describe(config, (name) => checkpoint.tensors.has(name))
  } catch (error) {
    throw new Error(`${source}: ${(error as Error).message}`)
  }
  return {
    path,
    family: family.id,
    spec: described.spec,
    names: described.names,
    params: bind(
      checkpoint,
      parameterShapes(described.spec, described.names),
      described.names,
      described.ignore,
    ) as DecoderParams,
    tokenizer: tokenizer(),
    ends: endsOf(path, config),
  }
}

/**
 * `eos_token_id` of generation_config.json, else of config.json: one, or a list where a turn ends in another way
 * than a text. GGUF has keys for both.
 */
function endsOf(path: string, config: unknown): number[] {
  const file = join(path, 'generation_config.json')
  const generation = existsSync(file) ? readJson(file) : undefined
  const given = (source: unknown, key: string): unknown => (isObject(source) ? source[key] : undefined)
  const listed = given(generation, 'eos_token_id') ?? given(config, 'eos_token_id')
  const ids = [
    ...[listed].flat(),
    ...['eos', 'eot', 'eom'].map((name) => given(config, `tokenizer.ggml.${name}_token_id`)),
  ]
  return [...new Set(ids.filter((id): id is number => Number.isInteger(id) && (id as number) >= 0))]
}

/** What GGUF files without a tokenizer say of it. */
const noTokenizer: readonly unknown[] = [undefined, 'none', 'no_vocab']

/** What the files beside a checkpoint say of it. */
export function describeFiles(
  path: string,
  checkpoint: Checkpoint,
): { config: unknown; id: string; source: string; tokenizer: () => Tokenizer | undefined } {
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
  const config = readJson(configFile)
  if (!isObject(config) || typeof config.model_type !== 'string')
    throw new Error(`${configFile}: has no "model_type"`)
  const file = firstOf(folder, ['tokenizer.json'])
  return {
    config,
    id: config.model_type,
    source: configFile,
    tokenizer: () => (file ? loadTokenizer(folder) : undefined),
  }
}
