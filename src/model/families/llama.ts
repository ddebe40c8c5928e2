/** Llama (Touvron et al. 2023; 3.1: Grattafiori et al. 2024), and what shares its code: TinyLlama, SmolLM. */
import * as z from 'zod'
import { activation, activationNames, headsOf, llamaKeys, llamaNames, sizesOf, spare } from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...llamaKeys,
  ...ropeKeys,
  model_type: z.literal('llama'),
  rms_norm_eps: z.number().positive(),
  rope_interleaved: z.literal(false).optional(),
  hidden_act: activation.default('silu'),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  // Notes of SmolLM's trainer.
  is_llama_config: ignored,
  'transformers.js_config': ignored,
})

export const llama: Family = {
  id: 'llama',
  describe(config) {
    const c = readConfig(schema, config, 'llama')
    const heads = headsOf(c)
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'rms', epsilon: c.rms_norm_eps },
        position: rotary(c, heads.headSize),
        attention: heads,
        ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
        qkvBias: c.attention_bias,
        outBias: c.attention_bias,
        mlpBias: c.mlp_bias,
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}
