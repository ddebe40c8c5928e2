/** Llama (Touvron et al. 2023), Hugging Face layout: `LlamaForCausalLM`. */
import * as z from 'zod'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'

const schema = z.strictObject({
  ...inert,
  model_type: z.literal('llama'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive,
  num_hidden_layers: layerCount,
  num_attention_heads: positive,
  num_key_value_heads: positive.optional(),
  head_dim: positive.nullish(),
  max_position_embeddings: positive,
  rms_norm_eps: z.number().positive(),
  rope_theta: z.number().positive().default(10000),
  rope_scaling: z.null({ error: 'rope scaling is not supported yet' }).optional(),
  rope_interleaved: z.literal(false).optional(),
  hidden_act: z.enum(['silu', 'gelu']).default('silu'),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  attention_dropout: z.unknown().optional(),
  tie_word_embeddings: z.boolean().default(false),
})

export const llama: Family = {
  id: 'llama',
  describe(config) {
    const c = readConfig(schema, config, 'llama')
    const keyValueHeads = c.num_key_value_heads ?? c.num_attention_heads
    const headSize = c.head_dim ?? c.hidden_size / c.num_attention_heads
    if (!Number.isInteger(headSize) || headSize % 2 !== 0)
      throw new Error(
        `llama configuration: the size of a head would be ${headSize}; rotary needs an even one`,
      )
    if (c.num_attention_heads % keyValueHeads !== 0)
      throw new Error(
        `llama configuration: ${c.num_attention_heads} heads do not divide into ${keyValueHeads} groups`,
      )
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        context: c.max_position_embeddings,
        norm: { kind: 'rms', epsilon: c.rms_norm_eps },
        position: { kind: 'rotary', base: c.rope_theta, interleaved: false },
        attention: { heads: c.num_attention_heads, keyValueHeads, headSize },
        ffn: { kind: 'gated', hidden: c.intermediate_size, activation: c.hidden_act },
        layout: 'out-in',
      },
      names: {
        embed: 'model.embed_tokens.weight',
        blocks: blocks(c.num_hidden_layers, (i) => {
          const part = (name: string, bias = false) => ({
            weight: `model.layers.${i}.${name}.weight`,
            ...(bias && { bias: `model.layers.${i}.${name}.bias` }),
          })
          const projection = (name: string) => part(`self_attn.${name}_proj`, c.attention_bias)
          return {
            ln1: part('input_layernorm'),
            attn: {
              q: projection('q'),
              k: projection('k'),
              v: projection('v'),
              o: projection('o'),
            },
            ln2: part('post_attention_layernorm'),
            mlp: {
              gate: part('mlp.gate_proj', c.mlp_bias),
              up: part('mlp.up_proj', c.mlp_bias),
              down: part('mlp.down_proj', c.mlp_bias),
            },
          }
        }),
        lnFinal: { weight: 'model.norm.weight' },
        head: c.tie_word_embeddings ? undefined : { weight: 'lm_head.weight' },
      },
      ignore: (name) =>
        name.endsWith('.rotary_emb.inv_freq') || (c.tie_word_embeddings && name === 'lm_head.weight'),
    }
  },
}
