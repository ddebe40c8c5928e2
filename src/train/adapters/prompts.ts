/**
 * What stands before the first token: trained keys and values of every layer (prefix tuning, Li and Liang 2021), or
 * trained embeddings (prompt tuning, Lester et al. 2021). Tokens come after them in position. Losses are those of the
 * real tokens; PEFT also counts the first of them, which the last virtual one predicts.
 */
import * as z from 'zod'
import { random, type Tensor, tensor } from '../../array/index.ts'
import { attach } from '../../model/attach.ts'
import type { Model } from '../../model/model.ts'
import { type DecoderSpec, partOf } from '../../model/spec.ts'
import { type Adapter, type AdapterBase, full, leafAt } from './adapter.ts'
import { commonConfig } from './config.ts'

export const promptSchema = z.strictObject({
  length: z.int().positive().default(16).describe('Virtual tokens, if no real ones are given'),
  tokens: z.array(z.int().nonnegative()).min(1).optional().describe('Real tokens to start from'),
  deviation: z.number().positive().default(0.02).describe('Of the random start'),
  seed: z.int().default(0),
  base: z.string().optional().describe('Name of the model on the hub, for the file'),
})
export type PromptOptions = z.input<typeof promptSchema>

/** A soft prompt: random, or the embeddings of real tokens. */
export function promptTuning(model: AdapterBase, options: PromptOptions = {}): Adapter {
  const o = promptSchema.parse(options)
  const { spec } = model
  checkPrompt(spec)
  const { layers, width: inner, embedWidth: width = inner } = spec
  const prompt = o.tokens ? rowsOf(leafAt(model, 'embed'), o.tokens) : normal([o.length, width], o)
  return {
    kind: 'prompt',
    config: {
      ...promptConfig(o.base, prompt.sizes[0]!),
      peft_type: 'PROMPT_TUNING',
      num_attention_heads: partOf(spec, 'attention').heads,
      num_layers: layers,
      token_dim: width,
      prompt_tuning_init: 'RANDOM',
      prompt_tuning_init_text: null,
      tokenizer_kwargs: null,
      tokenizer_name_or_path: null,
    },
    params: { prompt },
    strength: full(),
  }
}

/** A prefix: random, or the keys and values of real tokens, which the authors found to be the better start. */
export async function prefixTuning(model: Model, options: PromptOptions = {}): Promise<Adapter> {
  const o = promptSchema.parse(options)
  const { layers } = model.spec
  const { keyValueHeads: heads, headSize } = partOf(model.spec, 'attention')
  const prefix = o.tokens
    ? await leftBehind(model, o.tokens)
    : normal([o.length, layers, 2, heads, headSize], o)
  return {
    kind: 'prefix',
    config: {
      ...promptConfig(o.base, prefix.sizes[0]!),
      peft_type: 'PREFIX_TUNING',
      num_attention_heads: heads,
      num_layers: layers,
      token_dim: heads * headSize,
      encoder_hidden_size: null,
      prefix_projection: false,
    },
    params: { prefix },
    strength: full(),
  }
}

const promptConfig = (base: string | undefined, length: number) => ({
  ...commonConfig(base),
  modules_to_save: null,
  num_transformer_submodules: 1,
  num_virtual_tokens: length,
})

/** Gemma's releases differ in whether the factor of its embeddings is applied to a soft prompt. */
export function checkPrompt(spec: DecoderSpec): void {
  if (spec.embedScale !== undefined)
    throw new Error(
      'soft prompts on a model that scales its embeddings are not supported: train a prefix instead',
    )
}

/** Keys and values of real tokens, by way of a soft prompt of their embeddings. */
async function leftBehind(model: Model, tokens: readonly number[]): Promise<Tensor> {
  const prompt = rowsOf(leafAt(model, 'embed'), tokens)
  const attached = await attach(model, [{ params: { prompt }, strength: full() }])
  return attached.adapters.find(({ params }) => params.prefix)!.params.prefix!
}

/** Rows of [vocab, width]. */
function rowsOf(embed: Tensor, tokens: readonly number[]): Tensor {
  const [vocab, width] = embed.sizes as [number, number]
  const data = embed.data as Float32Array
  const rows = new Float32Array(tokens.length * width)
  tokens.forEach((token, i) => {
    if (token >= vocab) throw new RangeError(`token ${token} is outside the vocabulary of ${vocab}`)
    rows.set(data.subarray(token * width, (token + 1) * width), i * width)
  })
  return tensor(rows, [tokens.length, width])
}

function normal(shape: readonly number[], { seed, deviation }: { seed: number; deviation: number }): Tensor {
  const gaussian = random.gaussian(seed)
  const size = shape.reduce((a, b) => a * b, 1)
  return tensor(
    Float32Array.from({ length: size }, () => deviation * gaussian()),
    shape,
  )
}
