/**
 * Control vectors as GGUF, in the layout of llama.cpp and repeng: `general.architecture` is `controlvector`, the tensor
 * `direction.N` f32 [width] is added to what layer N writes, counted from 0. llama.cpp has no direction of layer 0.
 * (Its own generator numbers a direction one higher than the layer that it was read from; a file means what is done
 * with it.)
 */
import type { DecoderSpec } from '../model/index.ts'
import { FileError, openGguf, readFloats, writeGguf } from '../store/index.ts'
import type { ControlVector } from './contrast.ts'

/** Writes a file atomically. */
export function writeControlVector(path: string, { directions, modelHint }: ControlVector): void {
  if (directions.has(0))
    throw new FileError(
      path,
      0,
      'control vectors have no direction of layer 0: llama.cpp begins with layer 1',
    )
  writeGguf(
    path,
    {
      'general.architecture': ['string', 'controlvector'],
      'controlvector.model_hint': ['string', modelHint],
      'controlvector.layer_count': ['u32', directions.size],
    },
    [...directions].map(([layer, data]) => ({
      name: `direction.${layer}`,
      type: 'f32' as const,
      shape: [data.length],
      data,
    })),
  )
}

/** Reads a file; with a `spec` it throws for a vector of another width or of layers that the model does not have. */
export function readControlVector(path: string, spec?: Pick<DecoderSpec, 'width' | 'layers'>): ControlVector {
  const { metadata, tensors } = openGguf(path)
  const error = (reason: string) => new FileError(path, 0, reason)
  const architecture = metadata['general.architecture']
  if (architecture !== 'controlvector')
    throw error(`is not a control vector: its architecture is ${architecture ?? 'not given'}`)
  const directions = new Map<number, Float32Array>()
  for (const [name, entry] of tensors) {
    const [, layer] = /^direction\.(\d+)$/.exec(name) ?? []
    if (layer === undefined) throw error(`the tensor '${name}' is no direction`)
    if (entry.shape.length !== 1) throw error(`'${name}' is of shape [${entry.shape}], not of one axis`)
    if (spec && entry.shape[0] !== spec.width)
      throw error(`'${name}' has ${entry.shape[0]} numbers, the model's states have ${spec.width}`)
    if (spec && Number(layer) >= spec.layers)
      throw error(`has '${name}', and the model has layers 0 to ${spec.layers - 1}`)
    directions.set(Number(layer), readFloats(entry))
  }
  if (directions.size === 0) throw error('has no directions')
  const sorted = new Map([...directions].sort(([a], [b]) => a - b))
  return { directions: sorted, modelHint: String(metadata['controlvector.model_hint'] ?? '') }
}
