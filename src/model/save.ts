/** A model as a folder in Hugging Face layout. */
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { leaves } from '../array/index.ts'
import { f32ToBf16, f32ToF16, type SafetensorsSource, writeSafetensors } from '../store/index.ts'
import { placesOf } from './convert/counterparts.ts'
import type { DecoderNames } from './families/family.ts'
import type { DecoderParams } from './spec.ts'

export interface SaveOptions {
  /** What becomes config.json; `torch_dtype` is written to it. */
  readonly config: Readonly<Record<string, unknown>>
  readonly names: DecoderNames
  readonly params: DecoderParams
  readonly dtype?: 'f32' | 'f16' | 'bf16'
  /** Files that go with it: tokenizer.json and the like. */
  readonly files?: readonly string[]
  /** Further files by name. */
  readonly texts?: Readonly<Record<string, string>>
}

const dtypeNames = { f32: 'float32', f16: 'float16', bf16: 'bfloat16' } as const

/**
 * Writes config.json, model.safetensors and the files given; what was in the folder is replaced, by two renames.
 * Throws for parameters without a name, and names without a parameter.
 */
export function saveModel(folder: string, options: SaveOptions): void {
  const { config, names, params, dtype = 'f32', files = [], texts = {} } = options
  replaceFolder(folder, (temporary) => {
    writeSafetensors(join(temporary, 'model.safetensors'), namedTensors(params, names, dtype))
    const json = { ...config, torch_dtype: dtypeNames[dtype] }
    writeFileSync(join(temporary, 'config.json'), `${JSON.stringify(json, null, 1)}\n`)
    for (const file of files) copyFileSync(file, join(temporary, basename(file)))
    for (const [name, text] of Object.entries(texts)) writeFileSync(join(temporary, name), text)
  })
}

/** The files of a model's folder that describe its tokenizer and how it generates. */
export const tokenizerFilesOf = (folder: string): string[] =>
  ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'generation_config.json']
    .map((name) => join(folder, name))
    .filter((path) => existsSync(path))

/** The parameters under the names of the checkpoint. */
export function namedTensors(
  params: DecoderParams,
  names: DecoderNames,
  dtype: 'f32' | 'f16' | 'bf16',
): SafetensorsSource[] {
  const paths = new Map(leaves(params))
  const tensors = placesOf(names).map(([path, name]): SafetensorsSource => {
    const leaf = paths.get(path)
    if (!leaf) throw new Error(`'${name}' is a tensor of this family, but the model has no '${path}'`)
    paths.delete(path)
    const data = (): ArrayBufferView => {
      const values = leaf.data as Float32Array
      return dtype === 'f32' ? values : dtype === 'f16' ? f32ToF16(values) : f32ToBf16(values)
    }
    return { name, dtype, shape: leaf.sizes, data }
  })
  const [unnamed] = paths.keys()
  if (unnamed !== undefined) throw new Error(`the parameter '${unnamed}' has no name in this family`)
  return tensors
}

/**
 * Makes a folder that has all that `fill` puts into it, in place of the one that is there. At no moment is there
 * half of each; if `fill` throws, the old one stays.
 */
export function replaceFolder(folder: string, fill: (temporary: string) => void): void {
  const target = resolve(folder)
  mkdirSync(dirname(target), { recursive: true })
  const mark = `${target}.${randomBytes(6).toString('hex')}`
  const [temporary, old] = [`${mark}.tmp`, `${mark}.old`]
  mkdirSync(temporary)
  try {
    fill(temporary)
    if (existsSync(target)) renameSync(target, old)
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    if (!existsSync(target) && existsSync(old)) renameSync(old, target)
    throw error
  }
  rmSync(old, { recursive: true, force: true })
}
