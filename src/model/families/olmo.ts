/**
 * OLMo (Groeneveld et al. 2024): norms without weights. OLMo 2 (2025): norms after each part only, and of
 * queries and keys across all heads.
 */
import * as z from 'zod'
import { activation, activationNames, headsOf, llamaKeys, llamaNames, sizesOf, spare } from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const keys = {
  ...llamaKeys,
  ...ropeKeys,
  hidden_act: activation.default('silu'),
  attention_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
}
const first = z.strictObject({
  ...keys,
  model_type: z.literal('olmo'),
  clip_qkv: z.number().positive().nullish(),
})
const second = z.strictObject({
  ...keys,
  model_type: z.literal('olmo2'),
  rms_norm_eps: z.number().positive().default(1e-5),
})

export const olmo: Family = {
  id: 'olmo',
  describe(config) {
    const c = readConfig(first, config, 'olmo')
    const heads = headsOf(c)
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'layer', epsilon: 1e-5 },
        position: rotary(c, heads.headSize),
        attention: { ...heads, clip: c.clip_qkv ?? undefined },
        ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: null, ln2: null },
        finalNorm: null,
        qkvBias: c.attention_bias,
        outBias: c.attention_bias,
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}

export const olmo2: Family = {
  id: 'olmo2',
  describe(config) {
    const c = readConfig(second, config, 'olmo2')
    const heads = headsOf(c)
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'rms', epsilon: c.rms_norm_eps, place: 'after' },
        position: rotary(c, heads.headSize),
        attention: { ...heads, normalize: 'all' },
        ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1Post: 'post_attention_layernorm', ln2Post: 'post_feedforward_layernorm' },
        qkNorm: true,
        qkvBias: c.attention_bias,
        outBias: c.attention_bias,
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}
