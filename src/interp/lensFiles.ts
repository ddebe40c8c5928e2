/**
 * Lenses as folders, as the package tuned-lens lays them out: config.json, and a translator for the stream after each
 * number of blocks under `0.weight` [width, width], `0.bias` [width], `1.weight` and so on. There the tensors are in
 * params.pt, a pickle; here in params.safetensors.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { type Tensor, tensor } from '../array/index.ts'
import type { Model } from '../model/index.ts'
import { replaceFolder } from '../model/save.ts'
import { writeAtomic } from '../store/file.ts'
import { openSafetensors, readFloats, type SafetensorsSource, writeSafetensors } from '../store/index.ts'
import { checkLens, type Lens, type Translator } from './lens.ts'

const files = { config: 'config.json', weights: 'params.safetensors', pickle: 'params.pt' } as const
const kinds = { linear_tuned_lens: 'tuned', linear_shortcut: 'shortcut' } as const

const configSchema = z.looseObject({
  base_model_name_or_path: z.string(),
  d_model: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  bias: z.boolean().default(true),
  base_model_revision: z.string().nullish(),
  unembed_hash: z.string().nullish(),
  lens_type: z.enum(Object.keys(kinds) as (keyof typeof kinds)[]).default('linear_tuned_lens'),
})

/** Writes the folder, whole or not at all. The logit lens has nothing to write. */
export function writeLens(folder: string, lens: Lens, model: Pick<Model, 'spec' | 'path'>): void {
  const { kind, translators } = lens
  checkLens(lens, model)
  if (!translators) throw new Error('the logit lens has no parameters: there is nothing to write')
  if (existsSync(folder)) {
    const own: readonly string[] = Object.values(files)
    const other = readdirSync(folder).find((name) => !own.includes(name))
    if (other !== undefined)
      throw new Error(
        `${folder}: has other files, such as ${other}; a lens is written to a folder of its own`,
      )
  }
  const { width, layers } = model.spec
  const config: z.output<typeof configSchema> = {
    base_model_name_or_path: model.path,
    d_model: width,
    num_hidden_layers: layers,
    bias: translators.every(({ bias }) => bias),
    base_model_revision: null,
    unembed_hash: null,
    lens_type: kind === 'tuned' ? 'linear_tuned_lens' : 'linear_shortcut',
  }
  const tensors = translators.flatMap(({ weight, bias }, layer): SafetensorsSource[] => [
    { name: `${layer}.weight`, dtype: 'f32', shape: weight.sizes, data: weight.data as Float32Array },
    ...(bias
      ? [{ name: `${layer}.bias`, dtype: 'f32' as const, shape: bias.sizes, data: bias.data as Float32Array }]
      : []),
  ])
  replaceFolder(folder, (target) => {
    writeSafetensors(join(target, files.weights), tensors)
    writeAtomic(join(target, files.config), (put) => put(Buffer.from(`${JSON.stringify(config, null, 2)}\n`)))
  })
}

/** Reads a lens for a model. Throws, naming the file, for one that is of another width or depth. */
export function readLens(folder: string, model: Pick<Model, 'spec' | 'path'>): Lens {
  const [configFile, weightsFile] = [join(folder, files.config), join(folder, files.weights)]
  if (!existsSync(configFile))
    throw new Error(`${configFile}: missing; a lens is a folder that \`glossa lens --save\` writes`)
  const parsed = configSchema.safeParse(readJson(configFile))
  if (!parsed.success) throw new Error(`${configFile}: is no lens: ${z.prettifyError(parsed.error)}`)
  const config = parsed.data
  const { width, layers } = model.spec
  if (config.d_model !== width || config.num_hidden_layers !== layers)
    throw new Error(
      `${configFile}: is a lens for ${config.num_hidden_layers} layers of width ${config.d_model} (${config.base_model_name_or_path}); ${model.path} has ${layers} of width ${width}`,
    )
  if (!existsSync(weightsFile)) throw new Error(`${weightsFile}: missing${pickleHint(folder)}`)
  const { tensors } = openSafetensors(weightsFile)
  const open = new Set(tensors.keys())
  const take = (name: string, shape: readonly number[]): Tensor => {
    const entry = tensors.get(name)
    if (!entry) throw new Error(`${weightsFile}: '${name}' is missing`)
    if (`${entry.shape}` !== `${shape}`)
      throw new Error(`${weightsFile}: '${name}' is [${entry.shape.join(', ')}], not [${shape.join(', ')}]`)
    open.delete(name)
    return tensor(readFloats(entry), shape)
  }
  const translators = Array.from(
    { length: layers },
    (_, layer): Translator => ({
      weight: take(`${layer}.weight`, [width, width]),
      ...(config.bias && { bias: take(`${layer}.bias`, [width]) }),
    }),
  )
  const [extra] = open
  if (extra !== undefined)
    throw new Error(`${weightsFile}: '${extra}' is no part of a lens for ${layers} layers`)
  return { kind: kinds[config.lens_type], translators }
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Error(`${path}: not valid JSON: ${(error as Error).message}`)
  }
}

const pickleHint = (folder: string): string =>
  existsSync(join(folder, files.pickle))
    ? `; ${files.pickle} is a pickle, which Python turns into it: safetensors.torch.save_file(torch.load('${files.pickle}'), '${files.weights}')`
    : ''
