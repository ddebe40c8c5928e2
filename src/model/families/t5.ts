/** T5 (Raffel et al. 2020) and 1.1 (Shazeer 2020), Flan-T5: `T5ForConditionalGeneration`. */
import * as z from 'zod'
import type { Seq2SeqNames, Seq2SeqSpec } from '../seq2seqSpec.ts'
import { named } from './common.ts'
import { blocks, inert, layerCount, positive, readConfig } from './family.ts'

const ignored = z.unknown().optional()
const token = z.int().nonnegative()
const schema = z.strictObject({
  ...inert,
  model_type: z.literal('t5'),
  vocab_size: positive,
  d_model: positive,
  d_kv: positive,
  d_ff: positive,
  num_layers: layerCount,
  num_decoder_layers: layerCount.nullish(),
  num_heads: positive,
  relative_attention_num_buckets: positive.default(32),
  relative_attention_max_distance: positive.default(128),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  feed_forward_proj: z.enum(['relu', 'gated-gelu', 'gated-silu']).default('relu'),
  is_encoder_decoder: z.literal(true).default(true),
  is_decoder: z.literal(false).optional(),
  tie_word_embeddings: z.boolean().default(true),
  scale_decoder_outputs: z.boolean().optional(),
  decoder_start_token_id: token.default(0),
  eos_token_id: z.union([token, z.array(token)]).default(1),
  dense_act_fn: ignored,
  is_gated_act: ignored,
  dropout_rate: ignored,
  classifier_dropout: ignored,
  initializer_factor: ignored,
  n_positions: ignored,
  output_past: ignored,
})

const activations = { relu: 'relu', 'gated-gelu': 'gelu-tanh', 'gated-silu': 'silu' } as const

export function describeT5(
  config: unknown,
  has: (name: string) => boolean,
): { spec: Seq2SeqSpec; names: Seq2SeqNames; ignore: (name: string) => boolean } {
  const c = readConfig(schema, config, 't5')
  const gated = c.feed_forward_proj !== 'relu'
  const layers = { encoder: c.num_layers, decoder: c.num_decoder_layers ?? c.num_layers }
  const stack = (side: 'encoder' | 'decoder') => ({
    bias: `${side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`,
    blocks: blocks(layers[side], (i) => {
      const part = (layer: number, name: string) => named(`${side}.block.${i}.layer.${layer}.${name}`)
      const attention = (layer: number, name: string) => ({
        q: part(layer, `${name}.q`),
        k: part(layer, `${name}.k`),
        v: part(layer, `${name}.v`),
        o: part(layer, `${name}.o`),
      })
      const last = side === 'decoder' ? 2 : 1
      return {
        ln1: part(0, 'layer_norm'),
        attn: attention(0, 'SelfAttention'),
        ...(side === 'decoder' && {
          lnCross: part(1, 'layer_norm'),
          cross: attention(1, 'EncDecAttention'),
        }),
        ln2: part(last, 'layer_norm'),
        mlp: gated
          ? {
              gate: part(last, 'DenseReluDense.wi_0'),
              up: part(last, 'DenseReluDense.wi_1'),
              down: part(last, 'DenseReluDense.wo'),
            }
          : { up: part(last, 'DenseReluDense.wi'), down: part(last, 'DenseReluDense.wo') },
      }
    }),
    lnFinal: named(`${side}.final_layer_norm`),
  })
  const scaled = c.scale_decoder_outputs ?? c.tie_word_embeddings
  return {
    spec: {
      vocab: c.vocab_size,
      width: c.d_model,
      layers,
      heads: c.num_heads,
      headSize: c.d_kv,
      hidden: c.d_ff,
      activation: activations[c.feed_forward_proj],
      gated,
      epsilon: c.layer_norm_epsilon,
      buckets: c.relative_attention_num_buckets,
      distance: c.relative_attention_max_distance,
      outputScale: scaled ? c.d_model ** -0.5 : 1,
      start: c.decoder_start_token_id,
      ends: [c.eos_token_id].flat(),
    },
    names: {
      embed: 'shared.weight',
      encoder: stack('encoder'),
      decoder: stack('decoder'),
      head: has('lm_head.weight') ? named('lm_head') : undefined,
    },
    // Copies of the shared embedding, and a table that the first release had in its cross-attention.
    ignore: (name) =>
      /^(en|de)coder\.embed_tokens\.weight$|EncDecAttention\.relative_attention_bias/.test(name),
  }
}
