/** From a checkpoint that has been opened, wherever it is, to a decoder: its description and its parameters. */
import {
  FileStorage,
  fromStorage,
  HostStorage,
  type Shape,
  type Storage,
  type Tensor,
  type TypedArray,
} from '../array/index.ts'
import { type Checkpoint, readBytes, readFloats, type TensorEntry } from '../store/checkpoint.ts'
import type { Tokenizer } from '../text/index.ts'
import type { DecoderNames, Described, Family } from './families/family.ts'
import { familyOf } from './families/index.ts'
import type { DecoderParams, DecoderSpec } from './spec.ts'

export interface LoadedModel {
  readonly path: string
  readonly family: string
  readonly spec: DecoderSpec
  readonly params: DecoderParams
  /** Names of the parameters in the checkpoint, in the shape of `params`. */
  readonly names: DecoderNames
  readonly tokenizer: Tokenizer | undefined
}

/** Contents converted to f32 when they are first used. */
class ConvertedStorage implements Storage {
  readonly dtype = 'f32'
  readonly shape: readonly number[]
  readonly #entry: TensorEntry
  #data: Float32Array | undefined

  constructor(entry: TensorEntry) {
    this.shape = entry.shape
    this.#entry = entry
  }

  read(): TypedArray {
    this.#data ??= readFloats(this.#entry)
    return this.#data
  }

  dispose(): void {
    this.#data = undefined
  }
}

/** f32 stays in the file until somebody needs it, where it can be mapped; other types are converted. */
function tensorOf(entry: TensorEntry): Tensor {
  if (entry.type !== 'f32') return fromStorage(new ConvertedStorage(entry))
  const { shape, source, offset, bytes } = entry
  const read = () => new Float32Array(readBytes(entry).buffer)
  if (source.onDisk === undefined) return fromStorage(new HostStorage('f32', shape, read()))
  return fromStorage(new FileStorage('f32', shape, { path: source.onDisk, offset, bytes }, read))
}

/** The shapes that a decoder's parameters must have. */
export function parameterShapes(spec: DecoderSpec, names: DecoderNames): Map<string, Shape> {
  const shapes = new Map<string, Shape>()
  const { width, vocab, layout } = spec
  const { heads, keyValueHeads, headSize } = spec.attention
  const expect = (name: string | undefined, shape: Shape): void => {
    if (name !== undefined) shapes.set(name, shape)
  }
  const matrix = (linear: { weight: unknown; bias?: unknown }, from: number, to: number): void => {
    expect(linear.weight as string, layout === 'out-in' ? [to, from] : [from, to])
    expect(linear.bias as string | undefined, [to])
  }
  const norm = (part: { weight: string; bias?: string | undefined }): void => {
    expect(part.weight, [width])
    expect(part.bias, [width])
  }
  expect(names.embed as string, [vocab, width])
  expect(names.positions, [spec.context, width])
  for (const block of names.blocks) {
    norm(block.ln1)
    norm(block.ln2)
    const [all, some] = [heads * headSize, keyValueHeads * headSize]
    if ('qkv' in block.attn) matrix(block.attn.qkv, width, all + 2 * some)
    else {
      matrix(block.attn.q, width, all)
      matrix(block.attn.k, width, some)
      matrix(block.attn.v, width, some)
    }
    matrix(block.attn.o, all, width)
    const { hidden } = spec.ffn
    if ('gateUp' in block.mlp) matrix(block.mlp.gateUp, width, 2 * hidden)
    else {
      if ('gate' in block.mlp) matrix(block.mlp.gate, width, hidden)
      matrix(block.mlp.up, width, hidden)
    }
    matrix(block.mlp.down, hidden, width)
  }
  norm(names.lnFinal)
  if (names.head) expect(names.head.weight as string, [vocab, width])
  return shapes
}

/** Binds names to tensors. Missing, misshapen and unexpected tensors are one error that lists them. */
function bind(checkpoint: Checkpoint, { spec, names, ignore }: Described): DecoderParams {
  const shapes = parameterShapes(spec, names)
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
  return replaceNames(names, (name) => tensorOf(checkpoint.tensors.get(name)!)) as DecoderParams
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
}

/** Puts a model together. Throws, naming file and reason, for anything unknown, missing or misshapen. */
export function bindModel(
  checkpoint: Checkpoint,
  { config, id, source, tokenizer }: Description,
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
    params: bind(checkpoint, described),
    tokenizer: tokenizer(),
  }
}

/** The configuration of a Hugging Face model, and the family that it names. */
export function parseConfig(text: string, path: string): Pick<Description, 'config' | 'id'> {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (error) {
    throw new Error(`${path}: not valid JSON: ${(error as Error).message}`)
  }
  if (!isObject(config) || typeof config.model_type !== 'string')
    throw new Error(`${path}: has no "model_type"`)
  return { config, id: config.model_type }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
