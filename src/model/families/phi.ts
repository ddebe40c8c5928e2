/** Phi-1, 1.5 and 2 (Gunasekar et al. 2023; Li et al. 2023): parallel parts, heads rotated in part. */
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
} from './common.ts'
import { type Family, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const ignored = z.unknown().optional()
const schema = z.strictObject({
  ...llamaKeys,
  ...ropeKeys,
  model_type: z.literal('phi'),
  layer_norm_eps: z.number().positive().default(1e-5),
  hidden_act: activation.default('gelu_new'),
  partial_rotary_factor: z.number().positive().max(1).optional(),
  qk_layernorm: z
    .literal(false, { error: 'norms of queries and keys are not supported in phi' })
    .default(false),
  tie_word_embeddings: z.literal(false).default(false),
  embd_pdrop: ignored,
  resid_pdrop: ignored,
})

export const phi: Family = {
  id: 'phi',
  describe(config) {
    const c = readConfig(schema, config, 'phi')
    const heads = headsOf(c)
    const share = c.partial_rotary_factor ?? c.rope_parameters?.partial_rotary_factor ?? 0.5
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'layer', epsilon: c.layer_norm_eps },
        position: rotary(c, heads.headSize, share),
        attention: heads,
        parallel: 'one norm',
        ffn: { kind: 'plain', hidden: c.intermediate_size, activation: activationNames[c.hidden_act] },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: false,
        norms: { ln1: 'input_layernorm' },
        normBias: true,
        qkvBias: true,
        outBias: true,
        out: 'dense',
        mlp: (prefix) => ({ up: named(`${prefix}.fc1`, true), down: named(`${prefix}.fc2`, true) }),
        finalNorm: 'final_layernorm',
        headBias: true,
      }),
      ignore: spare(false),
    }
  },
}
