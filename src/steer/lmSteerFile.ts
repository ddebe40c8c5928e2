/**
 * LM-Steers as safetensors: `projector1` and `projector2` f32 [steers, width, rank], the names of the authors'
 * checkpoints; the metadata `glossa.lm_steer` is JSON with `epsilon`, the `names` of the steers and a `model_hint`.
 */
import * as z from 'zod'
import { tensor } from '../array/index.ts'
import type { DecoderSpec } from '../model/index.ts'
import { FileError, openSafetensors, readFloats, writeSafetensors } from '../store/index.ts'
import type { WordSteer } from './wordSteer.ts'

const key = 'glossa.lm_steer'
const header = z.strictObject({
  version: z.literal(1),
  epsilon: z.number().positive(),
  names: z.array(z.string().min(1)).min(1),
  model_hint: z.string(),
})

/** Writes a file atomically. */
export function writeWordSteer(
  path: string,
  { projector1, projector2, names, epsilon, modelHint }: WordSteer,
): void {
  const json: z.output<typeof header> = { version: 1, epsilon, names: [...names], model_hint: modelHint }
  writeSafetensors(
    path,
    Object.entries({ projector1, projector2 }).map(([name, { sizes, data }]) => ({
      name,
      dtype: 'f32' as const,
      shape: sizes,
      data: data as Float32Array,
    })),
    { [key]: JSON.stringify(json) },
  )
}

/** Reads a file; with a `spec` it throws for a steer of another width. */
export function readWordSteer(path: string, spec?: Pick<DecoderSpec, 'width'>): WordSteer {
  const { metadata, tensors } = openSafetensors(path)
  const error = (reason: string) => new FileError(path, 0, reason)
  const text = metadata[key]
  if (typeof text !== 'string') throw error(`is not an LM-Steer: its metadata has no ${key}`)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw error(`${key} is not JSON: ${(cause as Error).message}`)
  }
  const read = header.safeParse(json)
  if (!read.success) {
    const [issue] = read.error.issues
    throw error(`${key}: ${issue!.path.join('.')}: ${issue!.message}`)
  }
  const { epsilon, names, model_hint: modelHint } = read.data
  const extra = [...tensors.keys()].find((name) => name !== 'projector1' && name !== 'projector2')
  if (extra !== undefined) throw error(`has a tensor '${extra}', which is none of an LM-Steer`)
  const [projector1, projector2] = (['projector1', 'projector2'] as const).map((name) => {
    const entry = tensors.get(name)
    if (!entry) throw error(`has no tensor '${name}'`)
    const [steers, width, rank] = entry.shape
    if (entry.shape.length !== 3 || steers !== names.length || !rank)
      throw error(`'${name}' is of shape [${entry.shape}], not [${names.length}, width, rank]`)
    if (spec && width !== spec.width)
      throw error(
        `'${name}' is for a width of ${width}, the model's is ${spec.width}: transfer the steer first`,
      )
    return tensor(readFloats(entry), entry.shape)
  }) as [WordSteer['projector1'], WordSteer['projector2']]
  if (`${projector1}` !== `${projector2}`)
    throw error(`projector1 is ${projector1} and projector2 is ${projector2}: they must be of one shape`)
  return { projector1, projector2, names, epsilon, modelHint }
}
