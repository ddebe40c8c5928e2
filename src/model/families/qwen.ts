/** Qwen2 (Yang et al. 2024): Llama with biases of queries, keys and values; Qwen3 (2025): their norms instead. */
import * as z from 'zod'
import {
  activation,
  activationNames,
  headsOf,
  llamaKeys,
  llamaNames,
  sizesOf,
  spare,
  windowKeys,
  windowOf,
} from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const keys = {
  ...llamaKeys,
  ...ropeKeys,
  ...windowKeys,
  rms_norm_eps: z.number().positive(),
  hidden_act: activation.default('silu'),
  use_sliding_window: z.boolean().default(false),
  /** Layers below this one see everything. */
  max_window_layers: z.int().nonnegative().optional(),
  use_mrope: z.literal(false).optional(),
  tie_word_embeddings: z.boolean().default(false),
}
const schemas = {
  qwen2: z.strictObject({
    ...keys,
    model_type: z.literal('qwen2'),
    attention_bias: z.boolean().default(true),
  }),
  qwen3: z.strictObject({
    ...keys,
    model_type: z.literal('qwen3'),
    attention_bias: z.boolean().default(false),
  }),
}

function qwen(id: 'qwen2' | 'qwen3'): Family {
  const third = id === 'qwen3'
  return {
    id,
    describe(config) {
      const c = readConfig<z.output<typeof schemas.qwen2> | z.output<typeof schemas.qwen3>>(
        schemas[id],
        config,
        id,
      )
      const heads = headsOf(third ? { ...c, head_dim: c.head_dim ?? 128 } : c)
      const from = c.max_window_layers ?? 28
      return {
        spec: {
          ...sizesOf(c),
          norm: { kind: 'rms', epsilon: c.rms_norm_eps },
          position: rotary(c, heads.headSize),
          attention: {
            ...heads,
            ...(third && { normalize: 'head' }),
            window: c.use_sliding_window ? windowOf(c, (layer) => layer >= from) : undefined,
          },
          ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
        },
        names: llamaNames({
          layers: c.num_hidden_layers,
          tied: c.tie_word_embeddings,
          norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
          qkvBias: c.attention_bias,
          outBias: third && c.attention_bias,
          qkNorm: third,
        }),
        ignore: spare(c.tie_word_embeddings),
      }
    },
  }
}

export const qwen2 = qwen('qwen2')
export const qwen3 = qwen('qwen3')
