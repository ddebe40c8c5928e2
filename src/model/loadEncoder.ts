/** From a folder in Hugging Face layout to an encoder: its description, its parameters, its tokenizer. */
import { existsSync } from 'node:fs'
import { openCheckpoint } from '../store/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { bind } from './bind.ts'
import { type EncoderNames, type EncoderParams, type EncoderSpec, encoderShapes } from './encoderSpec.ts'
import { encoderFamilies } from './families/bert.ts'
import { describeFiles } from './load.ts'

export interface LoadedEncoder {
  readonly path: string
  readonly family: string
  readonly spec: EncoderSpec
  readonly params: EncoderParams
  readonly names: EncoderNames
  readonly tokenizer: Tokenizer | undefined
}

/** Headers only; weights are read when they are used. Throws as `load` does. */
export function loadEncoder(path: string): LoadedEncoder {
  if (!existsSync(path)) throw new Error(`${path}: there is no such file or folder`)
  const checkpoint = openCheckpoint(path)
  const { config, id, source, tokenizer } = describeFiles(path, checkpoint)
  const family = encoderFamilies.find((candidate) => candidate.id === id)
  if (!family)
    throw new Error(
      `${source}: '${id}' is no encoder that is supported; there are ${encoderFamilies.map((own) => own.id).join(', ')}`,
    )
  try {
    const { spec, names, ignore } = family.describe(config, (name) => checkpoint.tensors.has(name))
    const params = bind(checkpoint, encoderShapes(spec, names), names, ignore) as EncoderParams
    return { path, family: id, spec, names, params, tokenizer: tokenizer() }
  } catch (error) {
    throw new Error(`${source}: ${(error as Error).message}`)
  }
}
