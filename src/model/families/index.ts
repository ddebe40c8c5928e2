/** Families by the kind of checkpoint that describes them. */
import type { Checkpoint } from '../../store/index.ts'
import type { Family } from './family.ts'
import { gpt2 } from './gpt2.ts'
import { llama } from './llama.ts'
import { llamaGguf } from './llama-gguf.ts'
import { llama2c } from './llama2c.ts'

const families: Readonly<Record<Checkpoint['format'], readonly Family[]>> = {
  safetensors: [gpt2, llama],
  gguf: [llamaGguf],
  llama2c: [llama2c],
}

/** The family with this id among those of a format; throws naming the ones there are. */
export function familyOf(format: Checkpoint['format'], id: string): Family {
  const family = families[format].find((candidate) => candidate.id === id)
  if (family) return family
  const known = families[format].map((candidate) => candidate.id).join(', ')
  throw new Error(`the model family '${id}' is not supported in ${format} checkpoints; supported: ${known}`)
}
