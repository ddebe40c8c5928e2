/**
 * Llama in GGUF files. The converter permutes the rows of the query and key matrices, so that rotary pairs
 * are neighbours here.
 */
import * as z from 'zod'
import { llamaModules } from './common.ts'
import { blocks, type Family, layerCount, positive, readConfig } from './family.ts'

const schema = z.object({
  'general.architecture': z.literal('llama'),
  'llama.block_count': layerCount,
  'llama.context_length': positive,
  'llama.embedding_length': positive,
  'llama.feed_forward_length': positive,
  'llama.attention.head_count': positive,
  'llama.attention.head_count_kv': positive.optional(),
  'llama.attention.layer_norm_rms_epsilon': z.number().positive(),
  'llama.attention.key_length': positive.optional(),
  'llama.attention.value_length': positive.optional(),
  'llama.rope.dimension_count': positive.optional(),
  'llama.rope.freq_base': z.number().positive().default(10000),
  'llama.vocab_size': positive.optional(),
  'llama.expert_count': z.literal(0, { error: 'experts are not supported yet' }).optional(),
  'llama.rope.scaling.type': z.literal('none', { error: 'rope scaling is not supported yet' }).optional(),
})

export const llamaGguf: Family = {
  id: 'llama',
  describe(config, has) {
    // Hyperparameters that are not listed could change the result; other metadata describes the file.
    const all = config as Record<string, unknown>
    const unknown = Object.keys(all).filter((key) => key.startsWith('llama.') && !(key in schema.shape))
    if (unknown.length > 0) throw new Error(`llama configuration: unknown keys ${unknown.join(', ')}`)
    const c = readConfig(schema, config, 'llama')
    const heads = c['llama.attention.head_count']
    const headSize = c['llama.attention.key_length'] ?? c['llama.embedding_length'] / heads
    const rotated = c['llama.rope.dimension_count'] ?? headSize
    if (rotated !== headSize || (c['llama.attention.value_length'] ?? headSize) !== headSize)
      throw new Error(
        `llama configuration: heads of ${headSize} with ${rotated} rotated are not supported yet`,
      )
    const vocabulary =
      c['llama.vocab_size'] ?? (all['tokenizer.ggml.tokens'] as unknown[] | undefined)?.length
    if (!vocabulary) throw new Error('llama configuration: neither llama.vocab_size nor a vocabulary')
    return {
      spec: {
        vocab: vocabulary,
        width: c['llama.embedding_length'],
        layers: c['llama.block_count'],
        context: c['llama.context_length'],
        norm: { kind: 'rms', epsilon: c['llama.attention.layer_norm_rms_epsilon'] },
        position: { kind: 'rotary', base: c['llama.rope.freq_base'], interleaved: true },
        attention: { heads, keyValueHeads: c['llama.attention.head_count_kv'] ?? heads, headSize },
        ffn: { kind: 'gated', hidden: c['llama.feed_forward_length'], activation: 'silu' },
        layout: 'out-in',
      },
      moduleNames: llamaModules(c['llama.block_count'], !has('output.weight')),
      names: {
        embed: 'token_embd.weight',
        blocks: blocks(c['llama.block_count'], (i) => {
          const part = (name: string) => ({ weight: `blk.${i}.${name}.weight` })
          return {
            ln1: part('attn_norm'),
            attn: { q: part('attn_q'), k: part('attn_k'), v: part('attn_v'), o: part('attn_output') },
            ln2: part('ffn_norm'),
            mlp: { gate: part('ffn_gate'), up: part('ffn_up'), down: part('ffn_down') },
          }
        }),
        lnFinal: { weight: 'output_norm.weight' },
        head: has('output.weight') ? { weight: 'output.weight' } : undefined,
      },
    }
  },
}
