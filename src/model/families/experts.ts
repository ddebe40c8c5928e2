/** Mixtures of experts: Mixtral (Jiang et al. 2024), OLMoE (Muennighoff et al. 2024). */
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
import { blocks, type Family, positive, readConfig } from './family.ts'
import { ropeKeys, rotary } from './rope.ts'

const ignored = z.unknown().optional()
const keys = {
  ...llamaKeys,
  ...ropeKeys,
  rms_norm_eps: z.number().positive().default(1e-5),
  hidden_act: activation.default('silu'),
  num_experts_per_tok: positive,
  tie_word_embeddings: z.boolean().default(false),
  output_router_logits: ignored,
  router_aux_loss_coef: ignored,
}
const mixtralSchema = z.strictObject({
  ...keys,
  model_type: z.literal('mixtral'),
  num_local_experts: positive.max(1024),
  sliding_window: windowKeys.sliding_window,
  router_jitter_noise: ignored,
})
const olmoeSchema = z.strictObject({
  ...keys,
  model_type: z.literal('olmoe'),
  num_experts: positive.max(1024),
  norm_topk_prob: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  clip_qkv: z.number().positive().nullish(),
})

export const mixtral: Family = {
  id: 'mixtral',
  describe(config) {
    const c = readConfig(mixtralSchema, config, 'mixtral')
    const heads = headsOf(c)
    const count = c.num_local_experts
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'rms', epsilon: c.rms_norm_eps },
        position: rotary(
          { ...c, rope_theta: c.rope_theta ?? c.rope_parameters?.rope_theta ?? 1e6 },
          heads.headSize,
        ),
        attention: { ...heads, window: c.sliding_window ? { size: c.sliding_window } : undefined },
        ffn: {
          kind: 'gated',
          hidden: c.intermediate_size,
          activation: activationNames[c.hidden_act],
          experts: { count, active: c.num_experts_per_tok, normalized: true },
        },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
        mlp: (prefix) => {
          const own = prefix.replace(/mlp$/, 'block_sparse_moe')
          const expert = (i: number) => ({
            gate: named(`${own}.experts.${i}.w1`),
            up: named(`${own}.experts.${i}.w3`),
            down: named(`${own}.experts.${i}.w2`),
          })
          return { router: named(`${own}.gate`), experts: blocks(count, expert) }
        },
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}

export const olmoe: Family = {
  id: 'olmoe',
  describe(config) {
    const c = readConfig(olmoeSchema, config, 'olmoe')
    const heads = headsOf(c)
    return {
      spec: {
        ...sizesOf(c),
        norm: { kind: 'rms', epsilon: c.rms_norm_eps },
        position: rotary(c, heads.headSize),
        attention: { ...heads, normalize: 'all', clip: c.clip_qkv ?? undefined },
        ffn: {
          kind: 'gated',
          hidden: c.intermediate_size,
          activation: activationNames[c.hidden_act],
          experts: { count: c.num_experts, active: c.num_experts_per_tok, normalized: c.norm_topk_prob },
        },
      },
      names: llamaNames({
        layers: c.num_hidden_layers,
        tied: c.tie_word_embeddings,
        norms: { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
        qkNorm: true,
        qkvBias: c.attention_bias,
        outBias: c.attention_bias,
        mlp: (prefix) => {
          const expert = (i: number) => ({
            gate: named(`${prefix}.experts.${i}.gate_proj`),
            up: named(`${prefix}.experts.${i}.up_proj`),
            down: named(`${prefix}.experts.${i}.down_proj`),
          })
          return { router: named(`${prefix}.gate`), experts: blocks(c.num_experts, expert) }
        },
      }),
      ignore: spare(c.tie_word_embeddings),
    }
  },
}
