/** Families by the kind of checkpoint that describes them. */
import type { Checkpoint } from '../../store/index.ts'
import { mixtral, olmoe } from './experts.ts'
import type { Family } from './family.ts'
import { gemma, gemma2, gemma3 } from './gemma.ts'
import { ggufFamilies } from './gguf.ts'
import { gptNeo } from './gpt-neo.ts'
import { gptNeox } from './gpt-neox.ts'
import { gpt2 } from './gpt2.ts'
import { otherKind, remedies } from './kinds.ts'
import { llama } from './llama.ts'
import { llama2c } from './llama2c.ts'
import { mamba } from './mamba.ts'
import { mistral } from './mistral.ts'
import { olmo, olmo2 } from './olmo.ts'
import { opt } from './opt.ts'
import { phi } from './phi.ts'
import { qwen2, qwen3 } from './qwen.ts'
import { starcoder2 } from './starcoder2.ts'

const families: Readonly<Record<Checkpoint['format'], readonly Family[]>> = {
  safetensors: [
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gptNeo,
    gptNeox,
    llama,
    mamba,
    mistral,
    mixtral,
    olmo,
    olmo2,
    olmoe,
    opt,
    phi,
    qwen2,
    qwen3,
    starcoder2,
  ],
  gguf: ggufFamilies,
  llama2c: [llama2c],
}

/** The family with this id among those of a format; throws naming the ones there are. */
export function familyOf(format: Checkpoint['format'], id: string): Family {
  const family = families[format].find((candidate) => candidate.id === id)
  if (family) return family
  const kind = format === 'safetensors' ? otherKind(id) : undefined
  if (kind) throw new Error(`'${id}' is an ${kind}: ${remedies[kind]}`)
  const known = families[format].map((candidate) => candidate.id).join(', ')
  throw new Error(`the model family '${id}' is not supported in ${format} checkpoints; supported: ${known}`)
}
