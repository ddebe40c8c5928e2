/**
 * What has been found in the features of an SAE, as safetensors: `prototypes` f32 [classes, d_sae] or `bias` f32 [d_sae]; the
 * metadata `glossa.features` is JSON with the `site` of the SAE and, for prototypes, the names of the `classes`.
 */
import * as z from 'zod'
import { type Tensor, tensor } from '../array/index.ts'
import type { SaeConfig } from '../interp/sae/sae.ts'
import { FileError, openSafetensors, readFloats, writeSafetensors } from '../store/index.ts'
import type { Prototypes } from './pullFeatures.ts'

const key = 'glossa.features'
const header = z.strictObject({
  version: z.literal(1),
  site: z.string(),
  classes: z.array(z.string().min(1)).optional(),
})
type Header = z.output<typeof header>

function write(path: string, name: string, { sizes, data }: Tensor, about: Omit<Header, 'version'>): void {
  const entry = { name, dtype: 'f32' as const, shape: sizes, data: data as Float32Array }
  writeSafetensors(path, [entry], { [key]: JSON.stringify({ version: 1, ...about }) })
}

function read(path: string, name: string, { dSae, site }: SaeConfig): { values: Tensor; about: Header } {
  const { metadata, tensors } = openSafetensors(path)
  const error = (reason: string) => new FileError(path, 0, reason)
  const text = metadata[key]
  if (typeof text !== 'string') throw error(`holds no features: its metadata has no ${key}`)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw error(`${key} is not JSON: ${(cause as Error).message}`)
  }
  const parsed = header.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw error(`${key}: ${issue!.path.join('.')}: ${issue!.message}`)
  }
  const entry = tensors.get(name)
  if (!entry || tensors.size > 1)
    throw error(`has the tensors ${[...tensors.keys()].join(', ') || 'none'}, not '${name}' alone`)
  const { shape } = entry
  if (shape.at(-1) !== dSae)
    throw error(`'${name}' is of shape [${shape}], and the SAE has ${dSae} features: it is of another one`)
  if (site !== parsed.data.site) throw error(`is of an SAE at ${parsed.data.site}, not at ${site}`)
  return { values: tensor(readFloats(entry), shape), about: parsed.data }
}

const siteOf = ({ site }: SaeConfig): string => {
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  return site
}

/** Writes prototypes atomically. */
export const writePrototypes = (path: string, { classes, codes }: Prototypes, config: SaeConfig): void =>
  write(path, 'prototypes', codes, { site: siteOf(config), classes: [...classes] })

/** FileError for prototypes of another SAE's features. */
export function readPrototypes(path: string, config: SaeConfig): Prototypes {
  const { values: codes, about } = read(path, 'prototypes', config)
  const classes = about.classes ?? []
  if (codes.sizes.length !== 2 || codes.sizes[0] !== classes.length || classes.length < 2)
    throw new FileError(path, 0, `'prototypes' is of shape [${codes.sizes}], for ${classes.length} classes`)
  return { classes, codes }
}

/** Writes a bias atomically. */
export const writeBias = (path: string, bias: Tensor, config: SaeConfig): void =>
  write(path, 'bias', bias, { site: siteOf(config) })

/** FileError for a bias of another SAE's features. */
export function readBias(path: string, config: SaeConfig): Tensor {
  const { values } = read(path, 'bias', config)
  if (values.sizes.length !== 1)
    throw new FileError(path, 0, `'bias' is of shape [${values.sizes}], not [features]`)
  return values
}
