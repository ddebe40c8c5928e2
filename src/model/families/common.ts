/** What the families that descend from Llama share: keys of their configurations, and names of their weights. */
import * as z from 'zod'
import type { AttentionSpec, DecoderSpec } from '../spec.ts'
import { blocks, type DecoderNames, inert, layerCount, positive } from './family.ts'
import { contextOf } from './rope.ts'

/** Keys of nearly every configuration since Llama. */
export const llamaKeys = {
  ...inert,
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: layerCount,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive,
}

const layerTypes = z.enum(['full_attention', 'sliding_attention'])
/** Which layers see a window only. */
export const windowKeys = {
  sliding_window: positive.nullish(),
  layer_types: z.array(layerTypes).nullish(),
}

/** The sizes that these families name alike; their matrices are all [out, in]. */
export const sizesOf = (c: {
  readonly vocab_size: number
  readonly hidden_size: number
  readonly num_hidden_layers: number
  readonly max_position_embeddings: number
  readonly rope_scaling?: Parameters<typeof contextOf>[0]['rope_scaling']
  readonly rope_parameters?: unknown
}): Pick<DecoderSpec, 'vocab' | 'width' | 'layers' | 'context' | 'layout'> => ({
  vocab: c.vocab_size,
  width: c.hidden_size,
  layers: c.num_hidden_layers,
  context: contextOf(c),
  layout: 'out-in',
})

interface HeadConfig {
  readonly hidden_size: number
  readonly num_attention_heads: number
  readonly num_key_value_heads?: number | null | undefined
  readonly head_dim?: number | null | undefined
}

/** Heads and their size; throws where they do not divide. */
export function headsOf(c: HeadConfig): Pick<AttentionSpec, 'heads' | 'keyValueHeads' | 'headSize'> {
  const heads = c.num_attention_heads
  const keyValueHeads = c.num_key_value_heads ?? heads
  const headSize = c.head_dim ?? c.hidden_size / heads
  if (!Number.isInteger(headSize) || headSize % 2 !== 0)
    throw new Error(`the size of a head would be ${headSize}; rotary positions need an even one`)
  if (heads % keyValueHeads !== 0)
    throw new Error(`${heads} heads do not divide into ${keyValueHeads} groups`)
  return { heads, keyValueHeads, headSize }
}

/** The window of the layers that `layer_types` calls sliding, or that `sliding` chooses where it is not given. */
export function windowOf(
  c: {
    readonly sliding_window?: number | null | undefined
    readonly layer_types?: readonly z.output<typeof layerTypes>[] | null | undefined
    readonly num_hidden_layers: number
  },
  sliding: (layer: number) => boolean,
): AttentionSpec['window'] {
  const layers =
    c.layer_types?.map((type) => type === 'sliding_attention') ?? blocks(c.num_hidden_layers, sliding)
  if (layers.length !== c.num_hidden_layers)
    throw new Error(`layer_types has ${layers.length} entries for ${c.num_hidden_layers} layers`)
  if (!layers.includes(true)) return undefined
  if (!c.sliding_window) throw new Error('layers with a sliding window need sliding_window')
  return { size: c.sliding_window, layers }
}

export interface LlamaNaming {
  readonly layers: number
  readonly tied: boolean
  /** Norms by their place in a block; empty where they have no weights. */
  readonly norms: Readonly<Partial<Record<'ln1' | 'ln1Post' | 'ln2' | 'ln2Post', string | null>>>
  readonly normBias?: boolean
  readonly qkvBias?: boolean
  readonly outBias?: boolean
  /** Norms of queries and keys. */
  readonly qkNorm?: boolean
  /** By default gate_proj, up_proj and down_proj. */
  readonly mlp?: (prefix: string) => DecoderNames['blocks'][number]['mlp']
  readonly mlpBias?: boolean
  /** Name of the output projection; o_proj by default. */
  readonly out?: string
  readonly finalNorm?: string | null
  readonly headBias?: boolean
}

/** `name.weight`, and `name.bias` where there is one. */
export const named = (name: string, bias = false): { weight: string; bias?: string } => ({
  weight: `${name}.weight`,
  ...(bias && { bias: `${name}.bias` }),
})

/** The names of Llama's modelling code, which most families since have kept. */
export function llamaNames(naming: LlamaNaming): DecoderNames {
  const { norms, normBias, qkvBias, outBias, qkNorm, mlpBias, out = 'o_proj', finalNorm = 'norm' } = naming
  const gated = (prefix: string) => ({
    gate: named(`${prefix}.gate_proj`, mlpBias),
    up: named(`${prefix}.up_proj`, mlpBias),
    down: named(`${prefix}.down_proj`, mlpBias),
  })
  return {
    embed: 'model.embed_tokens.weight',
    blocks: blocks(naming.layers, (i) => {
      const own = `model.layers.${i}`
      const attention = `${own}.self_attn`
      return {
        ...Object.fromEntries(
          Object.entries(norms).map(([place, name]) => [
            place,
            name === null ? {} : named(`${own}.${name}`, normBias),
          ]),
        ),
        attn: {
          q: named(`${attention}.q_proj`, qkvBias),
          k: named(`${attention}.k_proj`, qkvBias),
          v: named(`${attention}.v_proj`, qkvBias),
          o: named(`${attention}.${out}`, outBias),
          ...(qkNorm && { qNorm: named(`${attention}.q_norm`), kNorm: named(`${attention}.k_norm`) }),
        },
        mlp: (naming.mlp ?? gated)(`${own}.mlp`),
      }
    }),
    lnFinal: finalNorm === null ? {} : named(`model.${finalNorm}`, normBias),
    head: naming.tied ? undefined : named('lm_head', naming.headBias),
  }
}

/** The names of Llama's modules, for its checkpoints in other layouts. */
export const llamaModules = (layers: number, tied: boolean): DecoderNames =>
  llamaNames({ layers, tied, norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' } })

/** Buffers of older exports, and the copy of a tied head. */
export const spare =
  (tied: boolean) =>
  (name: string): boolean =>
    name.endsWith('.rotary_emb.inv_freq') || (tied && name === 'lm_head.weight')

/** Activations by their names in Hugging Face configurations. */
export const activationNames = {
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
  silu: 'silu',
  swish: 'silu',
  relu: 'relu',
} as const
export const activation = z.enum(
  Object.keys(activationNames) as [keyof typeof activationNames, ...(keyof typeof activationNames)[]],
)
