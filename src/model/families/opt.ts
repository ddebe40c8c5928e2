/**
 * OPT (Zhang et al. 2022): GPT-2 with ReLU and a table of positions that begins at row 2. OPT-350m has its norms after
 * the sums, none at the end, and embeddings of another width than the residual's.
 */
import * as z from 'zod'
import { activation, activationNames, named } from './common.ts'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...inert,
  model_type: z.literal('opt'),
  vocab_size: positive,
  hidden_size: positive,
  ffn_dim: positive,
  num_hidden_layers: layerCount,
  num_attention_heads: positive,
  max_position_embeddings: positive,
  activation_function: activation.default('relu'),
  do_layer_norm_before: z.boolean().default(true),
  word_embed_proj_dim: positive.optional(),
  enable_bias: z.boolean().default(true),
  layer_norm_elementwise_affine: z.literal(true).default(true),
  _remove_final_layer_norm: z.literal(false).default(false),
  tie_word_embeddings: z.boolean().default(true),
  activation_dropout: ignored,
  dropout: ignored,
  layerdrop: ignored,
  init_std: ignored,
  prefix: ignored,
})

export const opt: Family = {
  id: 'opt',
  describe(config, has) {
    const c = readConfig(schema, config, 'opt')
    if (c.hidden_size % c.num_attention_heads !== 0)
      throw new Error(`hidden_size ${c.hidden_size} is not a multiple of ${c.num_attention_heads} heads`)
    const embedWidth = c.word_embed_proj_dim ?? c.hidden_size
    const projected = embedWidth !== c.hidden_size
    const prefix = has('decoder.embed_tokens.weight') ? 'decoder.' : 'model.decoder.'
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        context: c.max_position_embeddings,
        ...(projected && { embedWidth }),
        norm: { kind: 'layer', epsilon: 1e-5, ...(!c.do_layer_norm_before && { place: 'sum' }) },
        position: { kind: 'learned', offset: 2 },
        attention: {
          heads: c.num_attention_heads,
          keyValueHeads: c.num_attention_heads,
          headSize: c.hidden_size / c.num_attention_heads,
        },
        ffn: { kind: 'plain', hidden: c.ffn_dim, activation: activationNames[c.activation_function] },
        layout: 'out-in',
      },
      ...(prefix === 'decoder.' && { modulePrefix: 'model.' }),
      names: {
        embed: `${prefix}embed_tokens.weight`,
        positions: `${prefix}embed_positions.weight`,
        ...(projected && {
          projectIn: named(`${prefix}project_in`),
          projectOut: named(`${prefix}project_out`),
        }),
        blocks: blocks(c.num_hidden_layers, (i) => {
          const part = (name: string, bias = c.enable_bias) => named(`${prefix}layers.${i}.${name}`, bias)
          return {
            ln1: part('self_attn_layer_norm', true),
            attn: {
              q: part('self_attn.q_proj'),
              k: part('self_attn.k_proj'),
              v: part('self_attn.v_proj'),
              o: part('self_attn.out_proj'),
            },
            ln2: part('final_layer_norm', true),
            mlp: { up: part('fc1'), down: part('fc2') },
          }
        }),
        lnFinal: c.do_layer_norm_before ? named(`${prefix}final_layer_norm`, true) : undefined,
        head: c.tie_word_embeddings ? undefined : named('lm_head'),
      },
      ignore: (name) => c.tie_word_embeddings && name === 'lm_head.weight',
    }
  },
}
