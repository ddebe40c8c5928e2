/** Mamba (Gu and Dao 2023), Hugging Face layout: `MambaForCausalLM`. */
import * as z from 'zod'
import { activation, activationNames, named } from './common.ts'
import { blocks, type Family, inert, layerCount, positive, readConfig } from './family.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...inert,
  model_type: z.literal('mamba'),
  vocab_size: positive,
  hidden_size: positive,
  intermediate_size: positive.optional(),
  expand: z.number().positive().default(2),
  state_size: positive.default(16),
  conv_kernel: z.int().min(2).default(4),
  time_step_rank: z.union([positive, z.literal('auto')]).default('auto'),
  num_hidden_layers: layerCount,
  layer_norm_epsilon: z.number().positive().default(1e-5),
  hidden_act: activation.default('silu'),
  use_bias: z.boolean().default(false),
  use_conv_bias: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
  // How weights were made.
  rescale_prenorm_residual: ignored,
  time_step_floor: ignored,
  time_step_init_scheme: ignored,
  time_step_max: ignored,
  time_step_min: ignored,
  time_step_scale: ignored,
  // How it is computed, not what: we are in f32.
  fused_add_norm: ignored,
  residual_in_fp32: ignored,
  use_associative_scan: ignored,
  use_mambapy: ignored,
  // The same sizes under the names of the first release, which published configurations still have.
  d_inner: positive.optional(),
  d_model: positive.optional(),
  n_layer: positive.optional(),
  pad_vocab_size_multiple: ignored,
  rms_norm: z.literal(true).optional(),
  ssm_cfg: z.strictObject({}).optional(),
})

export const mamba: Family = {
  id: 'mamba',
  describe(config, has) {
    const c = readConfig(schema, config, 'mamba')
    const inner = c.intermediate_size ?? Math.floor(c.expand * c.hidden_size)
    for (const [key, own, other] of [
      ['d_inner', c.d_inner, inner],
      ['d_model', c.d_model, c.hidden_size],
      ['n_layer', c.n_layer, c.num_hidden_layers],
    ] as const)
      if (own !== undefined && own !== other)
        throw new Error(`mamba configuration: ${key} is ${own}, but the size that it repeats is ${other}`)
    const activation = activationNames[c.hidden_act]
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        context: Number.POSITIVE_INFINITY,
        norm: { kind: 'rms', epsilon: c.layer_norm_epsilon },
        position: { kind: 'none' },
        stateSpace: {
          inner,
          state: c.state_size,
          kernel: c.conv_kernel,
          rank: c.time_step_rank === 'auto' ? Math.ceil(c.hidden_size / 16) : c.time_step_rank,
          activation,
        },
        layout: 'out-in',
      },
      names: {
        // The first conversions say 'embedding'.
        embed: `backbone.${has('backbone.embedding.weight') ? 'embedding' : 'embeddings'}.weight`,
        blocks: blocks(c.num_hidden_layers, (i) => {
          const mixer = `backbone.layers.${i}.mixer`
          return {
            ln1: named(`backbone.layers.${i}.norm`),
            ssm: {
              input: named(`${mixer}.in_proj`, c.use_bias),
              conv: named(`${mixer}.conv1d`, c.use_conv_bias),
              select: named(`${mixer}.x_proj`),
              step: named(`${mixer}.dt_proj`, true),
              logDecay: `${mixer}.A_log`,
              skip: `${mixer}.D`,
              output: named(`${mixer}.out_proj`, c.use_bias),
            },
          }
        }),
        lnFinal: named('backbone.norm_f'),
        head: c.tie_word_embeddings ? undefined : named('lm_head'),
      },
      ignore: (name) => c.tie_word_embeddings && name === 'lm_head.weight',
    }
  },
}
