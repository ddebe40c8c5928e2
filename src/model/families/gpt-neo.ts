/** GPT-Neo (Black et al. 2021): GPT-2 with unscaled scores, and a window in every other layer. */
import * as z from 'zod'
import { activation, activationNames, named } from './common.ts'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'

const ignored = z.unknown().optional()
const kind = z.enum(['global', 'local'])
const schema = z.strictObject({
  ...inert,
  model_type: z.literal('gpt_neo'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive.nullish(),
  num_layers: layerCount,
  num_heads: positive,
  max_position_embeddings: positive,
  window_size: positive.default(256),
  /** Kinds of layers and how often they repeat: [[['global', 'local'], 12]]. */
  attention_types: z.array(z.tuple([z.array(kind), positive])).optional(),
  attention_layers: z.array(kind).optional(),
  activation_function: activation.default('gelu_new'),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
  embed_dropout: ignored,
  resid_dropout: ignored,
  classifier_dropout: ignored,
  gradient_checkpointing: ignored,
  summary_activation: ignored,
  summary_first_dropout: ignored,
  summary_proj_to_labels: ignored,
  summary_type: ignored,
  summary_use_proj: ignored,
})

export const gptNeo: Family = {
  id: 'gpt_neo',
  describe(config, has) {
    const c = readConfig(schema, config, 'gpt_neo')
    const repeated = c.attention_types?.flatMap(([kinds, times]) =>
      Array.from({ length: times }, () => kinds).flat(),
    )
    const kinds = c.attention_layers ?? repeated ?? blocks(c.num_layers, () => 'global' as const)
    if (kinds.length !== c.num_layers)
      throw new Error(`attention_types describe ${kinds.length} layers, there are ${c.num_layers}`)
    if (c.hidden_size % c.num_heads !== 0)
      throw new Error(`hidden_size ${c.hidden_size} is not a multiple of num_heads ${c.num_heads}`)
    const prefix = has('wte.weight') ? '' : 'transformer.'
    const pair = (name: string) => named(`${prefix}${name}`, true)
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.hidden_size,
        layers: c.num_layers,
        context: c.max_position_embeddings,
        norm: { kind: 'layer', epsilon: c.layer_norm_epsilon },
        position: { kind: 'learned' },
        attention: {
          heads: c.num_heads,
          keyValueHeads: c.num_heads,
          headSize: c.hidden_size / c.num_heads,
          scale: 1,
          window: { size: c.window_size, layers: kinds.map((own) => own === 'local') },
        },
        ffn: {
          kind: 'plain',
          hidden: c.intermediate_size ?? 4 * c.hidden_size,
          activation: activationNames[c.activation_function],
        },
        layout: 'out-in',
      },
      ...(!prefix && { modulePrefix: 'transformer.' }),
      names: {
        embed: `${prefix}wte.weight`,
        positions: `${prefix}wpe.weight`,
        blocks: blocks(c.num_layers, (i) => {
          const projection = (name: string) => named(`${prefix}h.${i}.attn.attention.${name}_proj`)
          return {
            ln1: pair(`h.${i}.ln_1`),
            attn: {
              q: projection('q'),
              k: projection('k'),
              v: projection('v'),
              o: pair(`h.${i}.attn.attention.out_proj`),
            },
            ln2: pair(`h.${i}.ln_2`),
            mlp: { up: pair(`h.${i}.mlp.c_fc`), down: pair(`h.${i}.mlp.c_proj`) },
          }
        }),
        lnFinal: pair('ln_f'),
        head: c.tie_word_embeddings ? undefined : named('lm_head'),
      },
      ignore: (name) =>
        /\.attn\.attention\.(masked_)?bias$/.test(name) ||
        (c.tie_word_embeddings && name === 'lm_head.weight'),
    }
  },
}
