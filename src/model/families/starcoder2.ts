/** StarCoder2 (Lozhkov et al. 2024): Llama's attention with biases, and a plain feed-forward part. */
import * as z from 'zod'
import {
  activation,
  activationNames,
  headsOf,
  llamaKeys,
  llamaNames,
  named,
  sizesOf,
  spare,
  windowKeys,
} from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...llamaKeys,
  ...ropeKeys,
  model_type: z.literal('starcoder2'),
  norm_epsilon: z.number().positive().default(1e-5),
  norm_type: z.literal('layer_norm').optional(),
  mlp_type: z.literal('default').optional(),
  hidden_act: activation.default('gelu_pytorch_tanh'),
  use_bias: z.boolean().default(true),
  sliding_window: windowKeys.sliding_window,
  tie_word_embeddings: z.boolean().default(true),
  embedding_dropout: ignored,
  residual_dropout: ignored,
})

export const starcoder2: Family = {
  id: 'starcoder2',
  describe(config) {
    const c = readConfig(schema, config, 'starcoder2')
    const heads = headsOf(c)
    const bias = c.use_bias
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'layer', epsilon: c.norm_epsilon },
        position: rotary(c, heads.headSize),
        attention: { ...heads, window: c.sliding_window ? { size: c.sliding_window } : undefined },
        ffn: { kind: 'plain', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
        normBias: true,
        qkvBias: bias,
        outBias: bias,
        mlp: (prefix) => ({ up: named(`${prefix}.c_fc`, bias), down: named(`${prefix}.c_proj`, bias) }),
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}
