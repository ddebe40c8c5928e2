/** A Llama in a GGUF file as a folder in Hugging Face layout. */
import { randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import {
  openCheckpoint,
  readBytes,
  readFloats,
  type SafetensorsSource,
  type TensorEntry,
  writeSafetensors,
} from '../../store/index.ts'
import { tokenizerFilesFromGguf } from '../../text/index.ts'
import type { LoadedModel } from '../bind.ts'
import { llama } from '../families/llama.ts'
import { load } from '../load.ts'
import { partOf } from '../spec.ts'
import { type Change, counterparts } from './counterparts.ts'
import { reorderRows } from './rotary.ts'

export interface Conversion {
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly tensors: number
  /** Matrices that got another type than the one asked for, and which. */
  readonly kept: readonly string[]
}

/**
 * Writes a GGUF file as a new folder with config.json, model.safetensors and the files of its tokenizer: all of
 * it, or nothing. f32, f16 and bf16 weights stay what they are; quantised ones become f32, which holds them
 * exactly. Throws for what is not a Llama, and for a folder that has something in it.
 */
export function convertToHuggingFace(path: string, folder: string): Conversion {
  const model = load(path)
  const checkpoint = openCheckpoint(path)
  if (checkpoint.format !== 'gguf' || model.family !== 'llama')
    throw new Error(
      `${path}: only Llama models in GGUF become a folder; this is ${model.family} in ${checkpoint.format}`,
    )
  if (existsSync(folder) && (!statSync(folder).isDirectory() || readdirSync(folder).length > 0))
    throw new Error(`${folder}: is there already; choose a new folder`)
  const { spec, names, tokenizer } = model
  const config = llamaConfig(model, dtypeOf(checkpoint.tensors.get(names.embed as string)!))
  const tensors = counterparts(
    { spec, names },
    llama.describe(config, () => true),
    'a Llama configuration',
  ).map(({ from, to, changes }) =>
    sourceOf(checkpoint.tensors.get(from)!, to, changes, partOf(spec, 'attention').headSize),
  )
  const files: Record<string, unknown> = {
    'config.json': config,
    ...(tokenizer && tokenizerFilesFromGguf(checkpoint.metadata, path)),
  }
  writeFolder(folder, (temporary) => {
    writeSafetensors(join(temporary, 'model.safetensors'), tensors)
    for (const [name, json] of Object.entries(files))
      writeFileSync(join(temporary, name), `${JSON.stringify(json, null, 1)}\n`)
  })
  const written = [...Object.keys(files), 'model.safetensors'].map((name) => {
    const file = join(folder, name)
    return { path: file, bytes: statSync(file).size }
  })
  return { files: written, tensors: tensors.length, kept: [] }
}

/** The configuration of a Llama in Hugging Face layout, by what is known of it. */
export function llamaConfig({ spec, names, tokenizer }: LoadedModel, dtype: Dtype): Record<string, unknown> {
  const { width, layers, context, vocab, norm, position } = spec
  const [attention, ffn] = [partOf(spec, 'attention'), partOf(spec, 'ffn')]
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocab,
    hidden_size: width,
    intermediate_size: ffn.hidden,
    num_hidden_layers: layers,
    num_attention_heads: attention.heads,
    num_key_value_heads: attention.keyValueHeads,
    head_dim: attention.headSize,
    max_position_embeddings: context,
    rms_norm_eps: shortest(norm.epsilon),
    ...(position.kind === 'rotary' && { rope_theta: shortest(position.base) }),
    hidden_act: ffn.activation,
    tie_word_embeddings: names.head === undefined,
    ...(tokenizer?.bos !== undefined && { bos_token_id: tokenizer.bos }),
    ...(tokenizer?.eos !== undefined && { eos_token_id: tokenizer.eos }),
    torch_dtype: dtypeNames[dtype],
  }
}

const dtypeNames = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as const
type Dtype = keyof typeof dtypeNames

const dtypeOf = ({ type }: TensorEntry): Dtype => (type === 'f16' || type === 'bf16' ? type : 'f32')

/** The shortest decimal that is this f32: 1e-5 and not 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === Math.fround(value)) return rounded
  }
  return value
}

function sourceOf(
  entry: TensorEntry,
  name: string,
  changes: readonly Change[],
  headSize: number,
): SafetensorsSource {
  const dtype = dtypeOf(entry)
  const data = (): Uint8Array => {
    const bytes = entry.type === dtype ? readBytes(entry) : new Uint8Array(readFloats(entry).buffer)
    const turned = changes.find((change) => change.kind === 'turned')
    return turned ? reorderRows(bytes, turned.heads, headSize, 'halves') : bytes
  }
  return { name, dtype, shape: entry.shape, data }
}

/** Makes a folder that is there with all that `fill` puts in it, or not at all. */
function writeFolder(folder: string, fill: (temporary: string) => void): void {
  const target = resolve(folder)
  mkdirSync(dirname(target), { recursive: true })
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`
  mkdirSync(temporary)
  try {
    fill(temporary)
    if (existsSync(target)) rmdirSync(target) // empty, as was checked
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    throw error
  }
}
