/** Mistral (Jiang et al. 2023): Llama with a sliding window. */
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
} from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const schema = z.strictObject({
  ...llamaKeys,
  ...ropeKeys,
  model_type: z.literal('mistral'),
  rms_norm_eps: z.number().positive(),
  hidden_act: activation.default('silu'),
  sliding_window: windowKeys.sliding_window,
  tie_word_embeddings: z.boolean().default(false),
})

export const mistral: Family = {
  id: 'mistral',
  describe(config) {
    const c = readConfig(schema, config, 'mistral')
    const heads = headsOf(c)
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'rms', epsilon: c.rms_norm_eps },
        position: rotary(c, heads.headSize),
        attention: { ...heads, window: c.sliding_window ? { size: c.sliding_window } : undefined },
        ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}
