/** A model from bytes in memory: fetched, or chosen by the user of a page. */

import type { Checkpoint } from '../store/index.ts'
import { readSafetensors } from '../store/safetensorsHeader.ts'
import { MemorySource } from '../store/source.ts'
import type { Tokenizer } from '../text/index.ts'
import { tokenizerFromHuggingFace } from '../text/load/huggingface.ts'
import { bind, bindModel, type Description, type LoadedModel, parseConfig } from './bind.ts'
import { type EncoderParams, encoderShapes } from './encoderSpec.ts'
import { encoderFamilies } from './families/bert.ts'
import { describeT5 } from './families/t5.ts'
import type { LoadedEncoder, LoadedSeq2Seq } from './loadEncoder.ts'
import { type Seq2SeqParams, seq2seqShapes } from './seq2seqSpec.ts'

/** Files of a folder in Hugging Face layout, by name. Without `tokenizer.json` the model takes token ids only. */
export interface ModelFiles {
  readonly 'config.json': Uint8Array
  readonly 'model.safetensors': Uint8Array
  readonly 'tokenizer.json'?: Uint8Array
  readonly 'tokenizer_config.json'?: Uint8Array
}

/** Reads a model as `load` does. Throws, naming the file and the reason. */
export function loadFiles(files: ModelFiles): LoadedModel {
  const { checkpoint, description } = read(files)
  return bindModel(checkpoint, description)
}

/** Reads an encoder as `loadEncoder` does. */
export function loadEncoderFiles(files: ModelFiles): Omit<LoadedEncoder, 'path'> {
  const opened = read(files)
  const { checkpoint, description } = opened
  const family = encoderFamilies.find((candidate) => candidate.id === description.id)
  if (!family)
    throw new Error(
      `config.json: '${description.id}' is no encoder that is supported; there are ${encoderFamilies.map(({ id }) => id).join(', ')}`,
    )
  return named(opened, (config, has) => {
    const { spec, names, ignore } = family.describe(config, has)
    const params = bind(checkpoint, encoderShapes(spec, names), names, ignore) as EncoderParams
    return { spec, names, params }
  })
}

/** Reads an encoder-decoder as `loadSeq2Seq` does. */
export function loadSeq2SeqFiles(files: ModelFiles): Omit<LoadedSeq2Seq, 'path'> {
  const opened = read(files)
  const { checkpoint, description } = opened
  if (description.id !== 't5')
    throw new Error(`config.json: '${description.id}' is no encoder-decoder that is supported; there is t5`)
  return named(opened, (config, has) => {
    const { spec, names, ignore } = describeT5(config, has)
    const params = bind(checkpoint, seq2seqShapes(spec, names), names, ignore) as Seq2SeqParams
    return { spec, names, params }
  })
}

interface Fetched {
  readonly checkpoint: Checkpoint
  readonly description: Description
}

/** What `describe` gives, with the file's name in its errors. */
function named<T>(
  { checkpoint, description: { config, id, source, tokenizer } }: Fetched,
  describe: (config: unknown, has: (name: string) => boolean) => T,
): T & { family: string; tokenizer: Tokenizer | undefined } {
  try {
    const described = describe(config, (name) => checkpoint.tensors.has(name))
    return { family: id, ...described, tokenizer: tokenizer() }
  } catch (error) {
    throw new Error(`${source}: ${(error as Error).message}`)
  }
}

function read(files: ModelFiles): Fetched {
  const text = (name: keyof ModelFiles): string => {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(files[name])
    } catch {
      throw new Error(`${name}: is not UTF-8 text`)
    }
  }
  const json = (name: keyof ModelFiles) => {
    try {
      return { json: JSON.parse(text(name)) as unknown, file: name }
    } catch (error) {
      throw new Error(`${name}: not valid JSON: ${(error as Error).message}`)
    }
  }
  for (const name of ['config.json', 'model.safetensors'] as const)
    if (!files[name]) throw new Error(`${name}: missing; a model needs it`)
  const checkpoint = readSafetensors(new MemorySource('model.safetensors', files['model.safetensors']))
  const description = {
    ...parseConfig(text('config.json'), 'config.json'),
    source: 'config.json',
    tokenizer: () =>
      files['tokenizer.json'] &&
      tokenizerFromHuggingFace({
        tokenizer: json('tokenizer.json'),
        config: files['tokenizer_config.json'] && json('tokenizer_config.json'),
      }),
  }
  return { checkpoint, description }
}
