/** GPT-2 (Radford et al. 2019), Hugging Face layout: `GPT2LMHeadModel`. */
import * as z from 'zod'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...inert,
  model_type: z.literal('gpt2'),
  vocab_size: positive,
  n_positions: positive,
  n_ctx: positive.optional(),
  n_embd: positive,
  n_layer: layerCount,
  n_head: positive,
  n_inner: positive.nullish(),
  activation_function: z.enum(['gelu_new', 'gelu', 'relu']).default('gelu_new'),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  reorder_and_upcast_attn: ignored,
  add_cross_attention: z.literal(false).default(false),
  attn_pdrop: ignored,
  embd_pdrop: ignored,
  resid_pdrop: ignored,
  summary_activation: ignored,
  summary_first_dropout: ignored,
  summary_proj_to_labels: ignored,
  summary_type: ignored,
  summary_use_proj: ignored,
})

const activations = { gelu_new: 'gelu-tanh', gelu: 'gelu', relu: 'relu' } as const

export const gpt2: Family = {
  id: 'gpt2',
  describe(config, has) {
    const c = readConfig(schema, config, 'gpt2')
    if (c.n_embd % c.n_head !== 0)
      throw new Error(`gpt2 configuration: n_embd ${c.n_embd} is not a multiple of n_head ${c.n_head}`)
    // The first releases have no 'transformer.' before the names.
    const prefix = has('wte.weight') ? '' : 'transformer.'
    const pair = (name: string) => ({ weight: `${prefix}${name}.weight`, bias: `${prefix}${name}.bias` })
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.n_embd,
        layers: c.n_layer,
        context: c.n_positions,
        norm: { kind: 'layer', epsilon: c.layer_norm_epsilon },
        position: { kind: 'learned' },
        attention: { heads: c.n_head, keyValueHeads: c.n_head, headSize: c.n_embd / c.n_head },
        ffn: {
          kind: 'plain',
          hidden: c.n_inner ?? 4 * c.n_embd,
          activation: activations[c.activation_function],
        },
        layout: 'in-out',
      },
      ...(!prefix && { modulePrefix: 'transformer.' }),
      names: {
        embed: `${prefix}wte.weight`,
        positions: `${prefix}wpe.weight`,
        blocks: blocks(c.n_layer, (i) => ({
          ln1: pair(`h.${i}.ln_1`),
          attn: { qkv: pair(`h.${i}.attn.c_attn`), o: pair(`h.${i}.attn.c_proj`) },
          ln2: pair(`h.${i}.ln_2`),
          mlp: { up: pair(`h.${i}.mlp.c_fc`), down: pair(`h.${i}.mlp.c_proj`) },
        })),
        lnFinal: pair('ln_f'),
        head: c.tie_word_embeddings ? undefined : { weight: 'lm_head.weight' },
      },
      // Causal masks that older exports keep, and the copy of a tied head.
      ignore: (name) =>
        /\.attn\.(masked_)?bias$/.test(name) || (c.tie_word_embeddings && name === 'lm_head.weight'),
    }
  },
}
