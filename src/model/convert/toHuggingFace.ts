/** A model in a GGUF file as a folder in Hugging Face layout. */
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
import { configurationOf } from '../families/ggufConfigurations.ts'
import { familyOf } from '../families/index.ts'
import { load } from '../load.ts'
import { partOf } from '../spec.ts'
import { type Change, counterparts } from './counterparts.ts'
import { changed, moved } from './rows.ts'

export interface Conversion {
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly tensors: number
  /** Matrices that got another type than the one asked for, and which. */
  readonly kept: readonly string[]
}

/**
 * Writes a GGUF file as a new folder with config.json, model.safetensors and the files of its tokenizer: all of
 * it, or nothing. f32, f16 and bf16 weights stay what they are; quantised ones become f32, which holds them
 * exactly, and so do norms that are stored as differences from 1 there. Throws for what the configuration of the
 * family cannot say, and for a folder that has something in it.
 */
export function convertToHuggingFace(path: string, folder: string): Conversion {
  const model = load(path)
  const checkpoint = openCheckpoint(path)
  if (checkpoint.format !== 'gguf')
    throw new Error(
      `${path}: only a GGUF file becomes a folder; this is ${model.family} in ${checkpoint.format}`,
    )
  if (existsSync(folder) && (!statSync(folder).isDirectory() || readdirSync(folder).length > 0))
    throw new Error(`${folder}: is there already; choose a new folder`)
  const { spec, names, tokenizer } = model
  const config = configOf(model, dtypeOf(checkpoint.tensors.get(names.embed as string)!))
  const tensors = counterparts(
    { spec, names },
    // Of several namings of one family that of transformers today.
    familyOf('safetensors', config.model_type as string).describe(config, () => false),
    `a configuration of ${config.model_type}`,
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

/** The configuration in Hugging Face layout of a model that has been read from a GGUF file. */
export function configOf(
  { family, spec, names, tokenizer }: LoadedModel,
  dtype: Dtype,
): Record<string, unknown> {
  return {
    ...configurationOf(family, spec, names),
    ...(tokenizer?.bos !== undefined && { bos_token_id: tokenizer.bos }),
    ...(tokenizer?.eos !== undefined && { eos_token_id: tokenizer.eos }),
    torch_dtype: dtypeNames[dtype],
  }
}

const dtypeNames = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as const
type Dtype = keyof typeof dtypeNames

const dtypeOf = ({ type }: TensorEntry): Dtype => (type === 'f16' || type === 'bf16' ? type : 'f32')

function sourceOf(
  entry: TensorEntry,
  name: string,
  changes: readonly Change[],
  headSize: number,
): SafetensorsSource {
  const calculated = changes.some(({ kind }) => kind === 'difference' || kind === 'whole')
  const dtype = calculated ? 'f32' : dtypeOf(entry)
  const transposed = changes.some(({ kind }) => kind === 'transposed')
  const shape = transposed ? entry.shape.toReversed() : entry.shape
  const data = (): Uint8Array => {
    if (calculated) {
      const apply = (values: Float32Array, change: Change) => changed(values, change, entry.shape, headSize)
      return new Uint8Array(changes.reduce(apply, readFloats(entry)).buffer)
    }
    let bytes: Uint8Array = entry.type === dtype ? readBytes(entry) : new Uint8Array(readFloats(entry).buffer)
    for (const change of changes)
      if (change.kind !== 'difference' && change.kind !== 'whole')
        bytes = moved(bytes, change, entry.shape, headSize)
    return bytes
  }
  return { name, dtype, shape, data }
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
