/**
 * Gemma (2024): norms that store differences from 1, scaled embeddings, GeGLU. Gemma 2 adds norms after each
 * part, soft caps and windows in every other layer; Gemma 3 (2025) norms of queries and keys in place of the
 * caps, and five layers with a window for one without.
 */
import * as z from 'zod'
import type { DecoderSpec } from '../spec.ts'
import {
  activation,
  activationNames,
  headsOf,
  llamaKeys,
  llamaNames,
  sizesOf,
  spare,
  windowKeys,
  windowOf,
} from './common.ts'
import { type Described, type Family, positive, readConfig } from './family.ts'
import { layeredRopeKeys, type RopeParameters, ropeKeys, rotary } from './rope.ts'

const cap = z.number().positive().nullish()
const keys = {
  ...llamaKeys,
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: activation.optional(),
  hidden_activation: activation.nullish(),
  attention_bias: z.boolean().default(false),
  tie_word_embeddings: z.literal(true).default(true),
  use_bidirectional_attention: z.literal(false).nullish(),
  cache_implementation: z.unknown().optional(),
}
const later = { ...keys, ...windowKeys, query_pre_attn_scalar: z.number().positive() }
const schemas = {
  gemma: z.strictObject({ ...keys, ...ropeKeys, model_type: z.literal('gemma') }),
  gemma2: z.strictObject({
    ...later,
    ...ropeKeys,
    model_type: z.literal('gemma2'),
    attn_logit_softcapping: cap,
    final_logit_softcapping: cap,
  }),
  gemma3: z.strictObject({
    ...later,
    ...layeredRopeKeys,
    model_type: z.literal('gemma3_text'),
    rope_local_base_freq: z.number().positive().optional(),
    sliding_window_pattern: positive.optional(),
    _sliding_window_pattern: positive.optional(),
    attn_logit_softcapping: cap,
    final_logit_softcapping: cap,
  }),
}
type Config = z.output<z.ZodObject<typeof keys>>

function describe(
  c: Config,
  details: Pick<DecoderSpec, 'position' | 'attention'> & Partial<DecoderSpec>,
): Described {
  // The first release named one activation and used the other.
  const act = c.hidden_activation ?? 'gelu_pytorch_tanh'
  const both = details.norm?.place === 'both'
  return {
    spec: {
      ...sizesOf(c),
      embedScale: Math.sqrt(c.hidden_size),
      ffn: { kind: 'gated', hidden: c.intermediate_size, activation: activationNames[act] },
      ...details,
      norm: { kind: 'rms', epsilon: c.rms_norm_eps, offset: 1, ...(both && { place: 'both' }) },
    },
    names: llamaNames({
      layers: c.num_hidden_layers,
      tied: true,
      norms: both
        ? {
            ln1: 'input_layernorm',
            ln1Post: 'post_attention_layernorm',
            ln2: 'pre_feedforward_layernorm',
            ln2Post: 'post_feedforward_layernorm',
          }
        : { ln1: 'input_layernorm', ln2: 'post_attention_layernorm' },
      qkvBias: c.attention_bias,
      outBias: c.attention_bias,
      qkNorm: details.attention?.normalize !== undefined,
    }),
    ignore: spare(true),
  }
}

export const gemma: Family = {
  id: 'gemma',
  describe(config) {
    const c = readConfig(schemas.gemma, config, 'gemma')
    const attention = headsOf({ ...c, head_dim: c.head_dim ?? 256 })
    return describe(c, { attention, position: rotary(c, attention.headSize) })
  },
}

export const gemma2: Family = {
  id: 'gemma2',
  describe(config) {
    const c = readConfig(schemas.gemma2, config, 'gemma2')
    const heads = headsOf({ ...c, head_dim: c.head_dim ?? 256 })
    return describe(c, {
      attention: {
        ...heads,
        scale: c.query_pre_attn_scalar ** -0.5,
        softcap: c.attn_logit_softcapping ?? undefined,
        window: windowOf(c, (layer) => layer % 2 === 0),
      },
      position: rotary(c, heads.headSize),
      norm: { kind: 'rms', epsilon: c.rms_norm_eps, place: 'both' },
      logitSoftcap: c.final_logit_softcapping ?? undefined,
    })
  },
}

export const gemma3: Family = {
  id: 'gemma3_text',
  describe(config) {
    const c = readConfig(schemas.gemma3, config, 'gemma3')
    const heads = headsOf({ ...c, head_dim: c.head_dim ?? 256 })
    const pattern = c.sliding_window_pattern ?? c._sliding_window_pattern ?? 6
    const { full, windowed } = ropesOf(c.rope_parameters)
    const position = rotary(
      {
        rope_theta: c.rope_theta ?? full?.rope_theta ?? 1e6,
        rope_scaling: c.rope_scaling,
        rope_parameters: full,
        max_position_embeddings: c.max_position_embeddings,
      },
      heads.headSize,
    )
    return describe(c, {
      attention: {
        ...heads,
        scale: c.query_pre_attn_scalar ** -0.5,
        softcap: c.attn_logit_softcapping ?? undefined,
        normalize: 'head',
        window: windowOf(c, (layer) => (layer + 1) % pattern !== 0),
      },
      position: { ...position, windowedBase: c.rope_local_base_freq ?? windowed?.rope_theta ?? 10000 },
      norm: { kind: 'rms', epsilon: c.rms_norm_eps, place: 'both' },
      logitSoftcap: c.final_logit_softcapping ?? undefined,
    })
  },
}

/** Rotary parameters of the layers without and with a window. */
function ropesOf(given: z.output<typeof schemas.gemma3>['rope_parameters']): {
  full?: RopeParameters | undefined
  windowed?: RopeParameters | undefined
} {
  if (!given) return {}
  const layered = given as Record<string, RopeParameters>
  return 'full_attention' in layered || 'sliding_attention' in layered
    ? { full: layered.full_attention, windowed: layered.sliding_attention }
    : { full: given as RopeParameters }
}
