/** A steer from its file, whichever kind it is of. */
import type { Edits, Model } from '../model/index.ts'
import { controlVectorEdits } from './contrast.ts'
import { readControlVector } from './controlVectorFile.ts'
import { readWordSteer } from './lmSteerFile.ts'
import { wordSteerEdits } from './wordSteer.ts'

/** The method that applies the file: `.gguf` is a control vector, `.safetensors` an LM-Steer. */
export function steerMethodOf(path: string): 'control-vector' | 'lm-steer' {
  if (path.endsWith('.gguf')) return 'control-vector'
  if (path.endsWith('.safetensors')) return 'lm-steer'
  throw new Error(`${path}: a steer is a .gguf (control vector) or a .safetensors (LM-Steer)`)
}

/** Its edits by strength; the functions are the same for all, so that a sealed model exchanges them. */
export function openSteer(path: string, { spec }: Pick<Model, 'spec'>): (strength: number) => Edits {
  if (steerMethodOf(path) === 'control-vector') {
    const vector = readControlVector(path, spec)
    return (strength) => controlVectorEdits(vector, strength)
  }
  const steer = readWordSteer(path, spec)
  return (strength) =>
    wordSteerEdits(
      steer,
      steer.names.map((name) => (name === 'domain' ? 0 : strength)),
    )
}
