/** A family: how a checkpoint's configuration and weight names map onto the decoder. */
import * as z from 'zod'
import type { Mapped } from '../../array/index.ts'
import type { DecoderParams, DecoderSpec } from '../spec.ts'

/** The parameter tree with the checkpoint's tensor names at its leaves. */
export type DecoderNames = Mapped<DecoderParams, string>

export interface Described {
  readonly spec: DecoderSpec
  readonly names: DecoderNames
  /** What Hugging Face's modules have before the names of this checkpoint, as those of the first releases. */
  readonly modulePrefix?: string
  /** The names that Hugging Face's modules have, where those of the checkpoint are others altogether. */
  readonly moduleNames?: DecoderNames
  /** Tensors of the checkpoint that are no weights (buffers of older exports). */
  readonly ignore?: (name: string) => boolean
}

export interface Family {
  /** `model_type` of Hugging Face configurations, or `general.architecture` of GGUF files. */
  readonly id: string
  /** `has` tells which tensors the checkpoint holds. Throws for a configuration that it does not know. */
  describe(config: unknown, has: (name: string) => boolean): Described
}

const anything = z.unknown().optional()

/** Keys of a Hugging Face configuration that do not change what the model computes. */
export const inert = {
  _name_or_path: anything,
  architectures: anything,
  attention_dropout: anything,
  bos_token_id: anything,
  dtype: anything,
  eos_token_id: anything,
  hidden_dropout: anything,
  initializer_range: anything,
  output_attentions: anything,
  output_hidden_states: anything,
  pad_token_id: anything,
  pretraining_tp: anything,
  task_specific_params: anything,
  torch_dtype: anything,
  return_dict: anything,
  'transformers.js_config': anything,
  transformers_version: anything,
  unk_token_id: anything,
  use_cache: anything,
}

/** Reads a configuration; unknown keys and unsupported values are errors that name them. */
export function readConfig<T>(schema: z.ZodType<T>, config: unknown, family: string): T {
  const result = schema.safeParse(config)
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys'
      ? `unknown keys ${issue.keys.map((key) => `'${key}'`).join(', ')}`
      : `'${issue.path.join('.')}': ${issue.message}`,
  )
  throw new Error(
    `${family} configuration: ${problems.join('; ')}. A key that glossa does not know could change what the model computes.`,
  )
}

/** `make(0)` to `make(layers - 1)`. */
export const blocks = <T>(layers: number, make: (layer: number) => T): T[] =>
  Array.from({ length: layers }, (_, layer) => make(layer))

export const positive = z.int().positive()
/** Layers: bounded, so that a damaged file cannot ask for a billion of them. */
export const layerCount = z.int().positive().max(4096)
