/**
 * A model as a folder that transformers.js opens: configuration, tokenizer, and `onnx/model{suffix}.onnx` with a cache
 * that grows. One folder may hold one model in several formats of weights.
 */
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { writeAtomic } from '../../store/file.ts'
import { type Checkpoint, openCheckpoint } from '../../store/index.ts'
import { chatTemplateBeside, templateField, tokenizerFilesFromGguf } from '../../text/index.ts'
import { parseJson } from '../bind.ts'
import { llamaConfig } from '../convert/toHuggingFace.ts'
import { load } from '../load.ts'
import type { Model } from '../model.ts'
import type { WeightFormat } from '../seal.ts'
import { type ExportedFiles, type ExportModelOptions, exportModel } from './exportModel.ts'

type Json = Readonly<Record<string, unknown>>

/**
 * The `dtype` under which transformers.js looks for each format, by the end of the file's name. Blocks of 4 bits with
 * f32 around them are what it calls q4. Its int8 and uint8 are types of plain quantized products; blocks of 8 bits
 * are none of these, so they go by the general name q8, which is also what a browser takes if it is asked for nothing.
 */
const suffixes: Readonly<Partial<Record<WeightFormat, string>>> = { f32: '', int8: '_quantized', int4: '_q4' }

/** Our families that transformers.js 4 has as decoders, by `model_type`. */
const known: readonly string[] = [
  'gemma',
  'gemma2',
  'gemma3_text',
  'gpt2',
  'gpt_neo',
  'gpt_neox',
  'llama',
  'mistral',
  'olmo',
  'olmo2',
  'opt',
  'phi',
  'qwen2',
  'qwen3',
  'starcoder2',
]

export interface FolderOptions extends Pick<ExportModelOptions, 'metadata'> {
  /** How the model given is sealed. */
  readonly weights: WeightFormat
}

/**
 * Writes the model into `folder`, which may be there already if it holds the same model. Each file is written whole or
 * not at all, the configuration last. Throws for what transformers.js cannot open.
 */
export function exportFolder(model: Model, folder: string, options: FolderOptions): ExportedFiles {
  const suffix = suffixes[options.weights]
  if (suffix === undefined)
    throw new Error(
      `transformers.js has no name for weights '${options.weights}': take ${Object.keys(suffixes).join(', ')}`,
    )
  if (model.taps.read?.length) throw new Error('transformers.js reads logits only: leave out the sites')
  const files = describeFolder(model)
  const config = files['config.json']!
  if (!known.includes(String(config.model_type)))
    throw new Error(`transformers.js has no decoder '${config.model_type}'; it has ${known.join(', ')}`)
  const before = jsonFile(join(folder, 'config.json'))
  const key = 'transformers.js_config'
  if (before && !sameJson({ ...before, [key]: null }, { ...config, [key]: null }))
    throw new Error(`${folder}: holds another model; choose a new folder`)

  const name = `model${suffix}.onnx`
  mkdirSync(join(folder, 'onnx'), { recursive: true })
  const { files: written, ...ports } = exportModel(model, join(folder, 'onnx', name), {
    cache: 'growing',
    dataFile: `${name}_data`,
    ...(options.metadata && { metadata: options.metadata }),
  })
  const own = { ...(config[key] as Json | undefined), ...(before?.[key] as Json | undefined) }
  const outside = { ...(own.use_external_data_format as Json | undefined), [name]: written.length - 1 }
  const all: Readonly<Record<string, Json | undefined>> = {
    ...files,
    'config.json': { ...config, [key]: { ...own, use_external_data_format: outside } },
  }
  const rest = Object.entries(all).flatMap(([name, json]) => {
    if (!json) return []
    const path = join(folder, name)
    writeAtomic(path, (put) => put(new TextEncoder().encode(`${JSON.stringify(json, null, 1)}\n`)))
    return [{ path, bytes: statSync(path).size }]
  })
  return { files: [...written, ...rest], ...ports }
}

/** What lies beside the weights, the configuration last. */
function describeFolder(model: Model): Readonly<Record<string, Json | undefined>> {
  const { path, tokenizer, ends } = model
  const checkpoint = openCheckpoint(path)
  const { config, generation, ...text } =
    checkpoint.format === 'gguf' ? fromGguf(path, checkpoint) : fromFolder(path, checkpoint)
  const generated: Json = {
    ...(tokenizer?.bos !== undefined && { bos_token_id: tokenizer.bos }),
    ...(ends.length > 0 && { eos_token_id: ends.length === 1 ? ends[0] : ends }),
    ...(tokenizer?.pad !== undefined && { pad_token_id: tokenizer.pad }),
  }
  return { ...text, 'generation_config.json': generation ?? generated, 'config.json': config }
}

function fromGguf(path: string, checkpoint: Checkpoint) {
  const loaded = load(path)
  if (loaded.family !== 'llama')
    throw new Error(
      `${path}: only a Llama in GGUF has a configuration to write; take the Hugging Face folder`,
    )
  const text = loaded.tokenizer && tokenizerFilesFromGguf(checkpoint.metadata, path)
  return { config: llamaConfig(loaded, 'f32') as Json, generation: undefined, ...(text as object) }
}

function fromFolder(folder: string, { format }: Checkpoint) {
  if (format !== 'safetensors' || !statSync(folder).isDirectory())
    throw new Error(
      `${folder}: a model in ${format} has no files to describe it; take one in Hugging Face layout or GGUF`,
    )
  const read = (name: string): Json | undefined => jsonFile(join(folder, name))
  const tokenizer = read('tokenizer.json')
  const template = tokenizer && chatTemplateBeside(join(folder, 'tokenizer.json'))
  return {
    config: read('config.json')!,
    generation: read('generation_config.json'),
    'tokenizer.json': tokenizer,
    // transformers.js reads templates from here only.
    'tokenizer_config.json': tokenizer && {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...read('tokenizer_config.json'),
      ...(template !== undefined && { chat_template: templateField(template) }),
    },
  }
}

function jsonFile(path: string): Json | undefined {
  return existsSync(path) ? (parseJson(readFileSync(path, 'utf8'), path) as Json) : undefined
}

/** Whether two values of JSON are the same, whatever the order of their keys. */
function sameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length && keys.every((key) => sameJson((a as Json)[key], (b as Json)[key]))
  )
}
