/** GPT-NeoX (Black et al. 2022) and Pythia (Biderman et al. 2023): parallel parts, heads rotated in part. */
import * as z from 'zod'
import { activation, activationNames, headsOf, named, sizesOf } from './common.ts'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...inert,
  ...ropeKeys,
  model_type: z.literal('gpt_neox'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: layerCount,
  num_attention_heads: positive,
  max_position_embeddings: positive,
  hidden_act: activation.default('gelu'),
  layer_norm_eps: z.number().positive().default(1e-5),
  rotary_pct: z.number().positive().max(1).optional(),
  rotary_emb_base: z.number().positive().optional(),
  partial_rotary_factor: z.number().positive().max(1).optional(),
  use_parallel_residual: z.boolean().default(true),
  attention_bias: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
  is_decoder: ignored,
  classifier_dropout: ignored,
})

export const gptNeox: Family = {
  id: 'gpt_neox',
  describe(config) {
    const c = readConfig(schema, config, 'gpt_neox')
    const heads = headsOf(c)
    const share = c.rotary_pct ?? c.partial_rotary_factor ?? c.rope_parameters?.partial_rotary_factor ?? 0.25
    const base = c.rotary_emb_base ?? c.rope_theta ?? c.rope_parameters?.rope_theta
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'layer', epsilon: c.layer_norm_eps },
        position: rotary({ ...c, rope_theta: base }, heads.headSize, share),
        attention: { ...heads, joinedByHead: true },
        parallel: c.use_parallel_residual ? 'two norms' : undefined,
        ffn: { kind: 'plain', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: {
        embed: 'gpt_neox.embed_in.weight',
        blocks: blocks(c.num_hidden_layers, (i) => {
          const pair = (name: string, bias = true) => named(`gpt_neox.layers.${i}.${name}`, bias)
          return {
            ln1: pair('input_layernorm'),
            attn: {
              qkv: pair('attention.query_key_value', c.attention_bias),
              o: pair('attention.dense', c.attention_bias),
            },
            ln2: pair('post_attention_layernorm'),
            mlp: { up: pair('mlp.dense_h_to_4h'), down: pair('mlp.dense_4h_to_h') },
          }
        }),
        lnFinal: named('gpt_neox.final_layer_norm', true),
        head: c.tie_word_embeddings ? undefined : named('embed_out'),
      },
      // Causal masks and frequencies that older exports keep.
      ignore: (name) =>
        /\.attention\.(masked_)?bias$|\.rotary_emb\.inv_freq$/.test(name) ||
        (c.tie_word_embeddings && name === 'embed_out.weight'),
    }
  },
}
