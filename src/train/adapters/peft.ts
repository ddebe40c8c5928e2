/**
 * Adapters as PEFT's folders: adapter_config.json and adapter_model.safetensors. Keys are those of the modules, and
 * the name of the adapter is not part of them:
 *
 *   base_model.model.MODULE.lora_A.weight [r, in], .lora_B.weight [out, r], .lora_magnitude_vector [out]
 *   base_model.model.MODULE.lora_embedding_A [r, vocab], .lora_embedding_B [width, r]
 *   base_model.model.MODULE.ia3_l [1, in] for feed-forward modules, [out, 1] for others
 *   base_model.model.MODULE.weight, .bias for modules_to_save
 *   prompt_embeddings [P, width], or [P, layers * 2 * heads * size] for a prefix
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Tensor, tensor } from '../../array/index.ts'
import { type LinearParams, type ModulePart, modulesOf } from '../../model/index.ts'
import { replaceFolder } from '../../model/save.ts'
import { partOf } from '../../model/spec.ts'
import { writeAtomic } from '../../store/file.ts'
import { openSafetensors, readFloats, type SafetensorsSource, writeSafetensors } from '../../store/index.ts'
import { type Adapter, type AdapterBase, full, leafAt } from './adapter.ts'
import {
  type Ia3Config,
  type LoraConfig,
  type PeftConfig,
  type PromptConfig,
  printPeftConfig,
  readPeftConfig,
} from './config.ts'
import { isFeedForward } from './ia3.ts'
import { checkEmbedding, rankOf, scalesOf } from './lora.ts'
import { checkPrompt } from './prompts.ts'
import { withKeys, withRows } from './rowOrder.ts'
import { type SavedLeaf, savedLeaves, targeted } from './targets.ts'

const files = { config: 'adapter_config.json', weights: 'adapter_model.safetensors' } as const
const root = 'base_model.model.'

/** Reads the adapter of a folder for a model. Throws, naming file and reason, for what does not fit or is not known. */
export function readAdapter(folder: string, model: AdapterBase): Adapter {
  const [configFile, weightsFile] = [join(folder, files.config), join(folder, files.weights)]
  if (!existsSync(configFile)) throw new Error(`${configFile}: missing${hint(folder)}`)
  if (!existsSync(weightsFile)) {
    const pickle = existsSync(join(folder, 'adapter_model.bin'))
    const way = pickle ? '; adapter_model.bin is a pickle, which PEFT saves anew as safetensors' : ''
    throw new Error(`${weightsFile}: missing${way}`)
  }
  let raw: unknown
  try {
    raw = JSON.parse(readFileSync(configFile, 'utf8'))
  } catch (error) {
    throw new Error(`${configFile}: not valid JSON: ${(error as Error).message}`)
  }
  const read = readPeftConfig(raw, configFile)
  const config = raw as PeftConfig
  const source = new Tensors(weightsFile)
  try {
    const adapter = { config, strength: full() }
    if (read.type === 'LORA') return { ...adapter, kind: 'lora', ...readLora(source, read.config, model) }
    if (read.type === 'IA3') return { ...adapter, kind: 'ia3', params: readIa3(source, read.config, model) }
    if (read.type === 'PREFIX_TUNING')
      return { ...adapter, kind: 'prefix', params: { prefix: readPrefix(source, read.config, model) } }
    return { ...adapter, kind: 'prompt', params: { prompt: readPrompt(source, read.config, model) } }
  } catch (error) {
    throw new Error(`${weightsFile}: ${(error as Error).message}`)
  }
}

/** Where the adapter may be instead: PEFT puts one with a name of its own into a folder of that name. */
function hint(folder: string): string {
  if (!existsSync(folder)) return '; there is no such folder'
  const inner = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && existsSync(join(folder, entry.name, files.config)),
  )
  return inner.length > 0 ? `; it is in ${inner.map(({ name }) => join(folder, name)).join(', ')}` : ''
}

/** The tensors of a file, taken one by one: what nobody takes is an error. */
class Tensors {
  readonly #entries: ReturnType<typeof openSafetensors>['tensors']
  readonly #open: Set<string>

  constructor(path: string) {
    this.#entries = openSafetensors(path).tensors
    this.#open = new Set(this.#entries.keys())
  }

  /** The first of these names that there is, as f32. */
  find(keys: readonly string[], shape: readonly number[]): Tensor | undefined {
    const key = keys.find((name) => this.#entries.has(name))
    if (key === undefined) return undefined
    const entry = this.#entries.get(key)!
    const count = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1)
    const flat = shape.length === 1 && count(entry.shape) === shape[0]
    if (!flat && `${entry.shape}` !== `${shape}`)
      throw new Error(`'${key}' is [${entry.shape.join(', ')}], not [${shape.join(', ')}]`)
    this.#open.delete(key)
    return tensor(readFloats(entry), shape)
  }

  take(key: string, shape: readonly number[]): Tensor {
    const found = this.find([key], shape)
    if (!found) throw new Error(`'${key}' is missing, which the configuration asks for`)
    return found
  }

  end(): void {
    const [first, ...rest] = this.#open
    if (first !== undefined)
      throw new Error(
        `'${first}'${rest.length > 0 ? ` and ${rest.length} more` : ''}: the configuration does not ask for it`,
      )
  }
}

function readLora(source: Tensors, config: LoraConfig, model: AdapterBase) {
  const parts = modulesOf(model)
  const chosen = targeted(parts, config)
  const linears = chosen.map((part): [string, LinearParams] => {
    const { module, kind, inner, out, place, turned } = part
    const rank = rankOf(config, part)
    const key = root + module
    if (kind === 'embedding') {
      checkEmbedding(config, part)
      const a = source.take(`${key}.lora_embedding_A`, [rank, inner])
      return [place, { a, b: source.take(`${key}.lora_embedding_B`, [out, rank]) }]
    }
    const a = source.take(`${key}.lora_A.weight`, [rank, inner])
    const b = withRows(source.take(`${key}.lora_B.weight`, [out, rank]), turned, 'neighbours')
    if (!config.use_dora) return [place, { a, b }]
    const name = `${key}.lora_magnitude_vector`
    const magnitude = source.find([`${name}.weight`], [out]) ?? source.take(name, [out])
    return [place, { a, b, magnitude: withRows(magnitude, turned, 'neighbours') }]
  })
  const saved = new Map(readSaved(source, savedLeaves(parts, config)))
  for (const [place, leaf] of readEmbeddings(source, chosen, model)) saved.set(place, leaf)
  source.end()
  return {
    params: {
      linears: Object.fromEntries(linears),
      ...(saved.size > 0 && { saved: Object.fromEntries(saved) }),
    },
    scales: scalesOf(config, chosen),
  }
}

const readSaved = (source: Tensors, leaves: readonly SavedLeaf[]): [string, Tensor][] =>
  leaves.map(({ place, tensor: name, shape, turned }) => [
    place,
    withRows(source.take(root + name, shape), turned, 'neighbours'),
  ])

/** PEFT saves an embedding that is a target along with its adapter; it only counts if it is not the model's. */
function readEmbeddings(
  source: Tensors,
  chosen: readonly ModulePart[],
  model: AdapterBase,
): [string, Tensor][] {
  const embeddings = chosen.filter(({ kind }) => kind === 'embedding' || kind === 'head')
  return embeddings.flatMap(({ module, leaves }) =>
    leaves.flatMap(({ place, tensor: name, shape }): [string, Tensor][] => {
      const own = source.find([`${root}${module}.base_layer.${name.split('.').at(-1)}`], shape)
      if (!own) return []
      const base = leafAt(model, place).data as Float32Array
      return (own.data as Float32Array).every((value, i) => value === base[i]) ? [] : [[place, own]]
    }),
  )
}

function readIa3(source: Tensors, config: Ia3Config, model: AdapterBase) {
  const parts = modulesOf(model)
  const linears = targeted(parts, config).map(
    ({ module, kind, inner, out, place, turned }): [string, LinearParams] => {
      if (kind === 'embedding') throw new Error(`IA3 of the embedding '${module}' is not supported`)
      const key = `${root}${module}.ia3_l`
      return [
        place,
        isFeedForward(config, module)
          ? { inputs: source.take(key, [inner]) }
          : { outputs: withRows(source.take(key, [out]), turned, 'neighbours') },
      ]
    },
  )
  const saved = readSaved(source, savedLeaves(parts, config))
  source.end()
  return {
    linears: Object.fromEntries(linears),
    ...(saved.length > 0 && { saved: Object.fromEntries(saved) }),
  }
}

/** Throws where a configuration says another size than the model has. */
function checkSizes(config: PromptConfig, expected: Partial<Record<keyof PromptConfig, number>>): void {
  for (const [key, size] of Object.entries(expected)) {
    const given = config[key as keyof PromptConfig]
    if (given !== null && given !== undefined && given !== size)
      throw new Error(`the configuration has ${key} ${given}, the model ${size}`)
  }
}

function readPrefix(source: Tensors, config: PromptConfig, { spec }: AdapterBase): Tensor {
  const { keyValueHeads: heads, headSize } = partOf(spec, 'attention')
  checkSizes(config, { num_layers: spec.layers, num_attention_heads: heads, token_dim: heads * headSize })
  const length = config.num_virtual_tokens
  const flat = source.take('prompt_embeddings', [length, spec.layers * 2 * heads * headSize])
  source.end()
  return withKeys(tensor(flat.data, [length, spec.layers, 2, heads, headSize]), spec, 'neighbours')
}

function readPrompt(source: Tensors, config: PromptConfig, { spec }: AdapterBase): Tensor {
  checkPrompt(spec)
  const { layers, width: inner, embedWidth: width = inner } = spec
  checkSizes(config, { num_layers: layers, token_dim: width })
  const prompt = source.take('prompt_embeddings', [config.num_virtual_tokens, width])
  source.end()
  return prompt
}

/**
 * Writes an adapter as PEFT reads it; what was in the folder is replaced, by renames. The same adapter gives the same
 * bytes. Refuses a strength other than 1, which the files have no place for.
 */
export function writeAdapter(folder: string, adapter: Adapter, model: AdapterBase): void {
  if (adapter.strength.item() !== 1)
    throw new Error(`an adapter of strength ${adapter.strength.item()}: the layout has no place for it`)
  const tensors = tensorsOf(adapter, model)
  replaceFolder(folder, (temporary) => {
    writeSafetensors(join(temporary, files.weights), tensors)
    writeAtomic(join(temporary, files.config), (put) => put(Buffer.from(printPeftConfig(adapter.config))))
  })
}

/** Tensors under PEFT's keys, sorted by them. */
function tensorsOf({ params, kind }: Adapter, model: AdapterBase): SafetensorsSource[] {
  const tensors = new Map<string, { readonly leaf: Tensor; readonly shape: readonly number[] }>()
  const put = (key: string, leaf: Tensor, shape = leaf.sizes) => tensors.set(key, { leaf, shape })
  if (params.prompt) put('prompt_embeddings', params.prompt)
  if (params.prefix) {
    const [length, ...rest] = params.prefix.sizes as [number, ...number[]]
    put('prompt_embeddings', withKeys(params.prefix, model.spec, 'halves'), [
      length,
      rest.reduce((a, b) => a * b, 1),
    ])
  }
  if (kind === 'lora' || kind === 'ia3') {
    const parts = modulesOf(model)
    const byPlace = new Map(parts.map((part) => [part.place, part]))
    const leaves = new Map(
      parts.flatMap((part) => part.leaves.map((leaf) => [leaf.place, { ...leaf, turned: part.turned }])),
    )
    for (const [place, part] of Object.entries(params.linears ?? {})) {
      const found = byPlace.get(place)
      if (!found) throw new Error(`the adapter is not one of this model: there is no '${place}'`)
      const key = root + found.module
      const rows = (leaf: Tensor): Tensor => withRows(leaf, found.turned, 'halves')
      if ('inputs' in part) put(`${key}.ia3_l`, part.inputs, [1, found.inner])
      else if ('outputs' in part) put(`${key}.ia3_l`, rows(part.outputs), [found.out, 1])
      else {
        const embedding = found.kind === 'embedding'
        put(`${key}.${embedding ? 'lora_embedding_A' : 'lora_A.weight'}`, part.a)
        put(`${key}.${embedding ? 'lora_embedding_B' : 'lora_B.weight'}`, rows(part.b))
        if (part.magnitude) put(`${key}.lora_magnitude_vector`, rows(part.magnitude))
      }
    }
    for (const [place, leaf] of Object.entries(params.saved ?? {})) {
      const { tensor: name, turned } = leaves.get(place)!
      put(root + name, withRows(leaf, turned, 'halves'))
    }
  }
  return [...tensors]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { leaf, shape }]) => ({ name, dtype: 'f32', shape, data: leaf.data }))
}
