/** From a folder in Hugging Face layout to an encoder or an encoder-decoder: description, parameters, tokenizer. */
import { existsSync } from 'node:fs'
import { type Checkpoint, openCheckpoint } from '../store/index.ts'
import type { Tokenizer } from '../text/index.ts'
import { bind, type Description } from './bind.ts'
import { type EncoderNames, type EncoderParams, type EncoderSpec, encoderShapes } from './encoderSpec.ts'
import { encoderFamilies } from './families/bert.ts'
import { type ModelKind, otherKind } from './families/kinds.ts'
import { describeT5 } from './families/t5.ts'
import { describeFiles } from './load.ts'
import { type Seq2SeqNames, type Seq2SeqParams, type Seq2SeqSpec, seq2seqShapes } from './seq2seqSpec.ts'

interface Loaded<Spec, Params, Names> {
  readonly path: string
  readonly family: string
  readonly spec: Spec
  readonly params: Params
  readonly names: Names
  readonly tokenizer: Tokenizer | undefined
}
export type LoadedEncoder = Loaded<EncoderSpec, EncoderParams, EncoderNames>
export type LoadedSeq2Seq = Loaded<Seq2SeqSpec, Seq2SeqParams, Seq2SeqNames>

/** What a checkpoint describes: which of `Model`, `Encoder` and `Seq2Seq` opens it. */
export function kindOf(path: string): ModelKind {
  const { checkpoint, id } = open(path)
  return (checkpoint.format === 'safetensors' && otherKind(id)) || 'decoder'
}

/** Headers only; weights are read when they are used. Throws as `load` does. */
export function loadEncoder(path: string): LoadedEncoder {
  const opened = open(path)
  const { checkpoint, id, source } = opened
  const family = encoderFamilies.find((candidate) => candidate.id === id)
  if (!family)
    throw new Error(
      `${source}: '${id}' is no encoder that is supported; there are ${encoderFamilies.map((own) => own.id).join(', ')}`,
    )
  return named(opened, (config, has) => {
    const { spec, names, ignore } = family.describe(config, has)
    return {
      spec,
      names,
      params: bind(checkpoint, encoderShapes(spec, names), names, ignore) as EncoderParams,
    }
  })
}

/** The same for an encoder-decoder. */
export function loadSeq2Seq(path: string): LoadedSeq2Seq {
  const opened = open(path)
  const { checkpoint, id, source } = opened
  if (id !== 't5') throw new Error(`${source}: '${id}' is no encoder-decoder that is supported; there is t5`)
  return named(opened, (config, has) => {
    const { spec, names, ignore } = describeT5(config, has)
    return {
      spec,
      names,
      params: bind(checkpoint, seq2seqShapes(spec, names), names, ignore) as Seq2SeqParams,
    }
  })
}

type Opened = Description & { readonly path: string; readonly checkpoint: Checkpoint }

function open(path: string): Opened {
  if (!existsSync(path)) throw new Error(`${path}: there is no such file or folder`)
  const checkpoint = openCheckpoint(path)
  return { ...describeFiles(path, checkpoint), path, checkpoint }
}

/** What `describe` gives, with the file's name in its errors. */
function named<T>(
  { path, id, source, config, checkpoint, tokenizer }: Opened,
  describe: (config: unknown, has: (name: string) => boolean) => T,
): T & { path: string; family: string; tokenizer: Tokenizer | undefined } {
  try {
    const described = describe(config, (name) => checkpoint.tensors.has(name))
    return { path, family: id, ...described, tokenizer: tokenizer() }
  } catch (error) {
    throw new Error(`${source}: ${(error as Error).message}`)
  }
}
