/** From a checkpoint that has been opened, wherever it is, to a decoder: its description and its parameters. */
import type { Shape } from '../array/index.ts'
import type { Checkpoint } from '../store/checkpoint.ts'
import type { Tokenizer } from '../text/index.ts'
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
  /** The same names as Hugging Face's modules have them, in every format. */
  readonly moduleNames: ModuleNames
  readonly tokenizer: Tokenizer | undefined
  /** Tokens that end a text, by the model's own configuration. */
  readonly ends: readonly number[]
}

/** Names of the parameters' tensors, and what stands before all of them. */
export interface ModuleNames {
  readonly names: DecoderNames
  readonly prefix: string
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

/** What describes a checkpoint. */
export interface Description {
  readonly config: unknown
  /** Of the family. */
  readonly id: string
  /** The file with the configuration, for messages. */
  readonly source: string
  readonly tokenizer: () => Tokenizer | undefined
  /** Of generation_config.json. */
  readonly generation?: unknown
}

/** Puts a model together. Throws, naming file and reason, for anything unknown, missing or misshapen. */
export function bindModel(
  checkpoint: Checkpoint,
  { config, id, source, tokenizer, generation }: Description,
): LoadedModel {
  let family: Family
  let described: Described
  try {
    family = familyOf(checkpoint.format, id)
    described = family.describe(config, (name) => checkpoint.tensors.has(name))
  } catch (error) {
    throw new Error(`${source}: ${(error as Error).message}`)
  }
  return {
    path: checkpoint.path,
    family: family.id,
    spec: described.spec,
    names: described.names,
    moduleNames: {
      names: described.moduleNames ?? described.names,
      prefix: described.modulePrefix ?? '',
    },
    params: bind(
      checkpoint,
      parameterShapes(described.spec, described.names),
      described.names,
      described.ignore,
    ) as DecoderParams,
    tokenizer: tokenizer(),
    ends: endsOf(config, generation),
  }
}

/**
 * `eos_token_id` of generation_config.json, else of config.json: one, or a list where a turn ends in another way
 * than a text. GGUF has keys for both.
 */
function endsOf(config: unknown, generation: unknown): number[] {
  const given = (source: unknown, key: string): unknown => (isObject(source) ? source[key] : undefined)
  const listed = given(generation, 'eos_token_id') ?? given(config, 'eos_token_id')
  const ids = [
    ...[listed].flat(),
    ...['eos', 'eot', 'eom'].map((name) => given(config, `tokenizer.ggml.${name}_token_id`)),
  ]
  return [...new Set(ids.filter((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0))]
}

/** The configuration of a Hugging Face model, and the family that it names. */
export function parseConfig(text: string, path: string): Pick<Description, 'config' | 'id'> {
  const config = parseJson(text, path)
  if (!isObject(config) || typeof config.model_type !== 'string')
    throw new Error(`${path}: has no "model_type"`)
  return { config, id: config.model_type }
}

/** JSON, or an error that names the file. */
export function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`${path}: not valid JSON: ${(error as Error).message}`)
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
