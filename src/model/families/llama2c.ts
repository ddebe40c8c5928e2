/** Checkpoints of llama2.c (Karpathy 2023): Llama with Meta's names and interleaved rotary pairs. */
import * as z from 'zod'
import { llamaModules } from './common.ts'
import { blocks, type Family, layerCount, positive, readConfig } from './family.ts'

const schema = z.strictObject({
  dim: positive,
  hidden_dim: positive,
  n_layers: layerCount,
  n_heads: positive,
  n_kv_heads: positive,
  vocab_size: positive,
  seq_len: positive,
  shared_classifier: z.boolean(),
  version: z.int().optional(),
})

export const llama2c: Family = {
  id: 'llama2.c',
  describe(config) {
    const c = readConfig(schema, config, 'llama2.c')
    return {
      spec: {
        vocab: c.vocab_size,
        width: c.dim,
        layers: c.n_layers,
        context: c.seq_len,
        norm: { kind: 'rms', epsilon: 1e-5 },
        position: { kind: 'rotary', base: 10000, interleaved: true },
        attention: { heads: c.n_heads, keyValueHeads: c.n_kv_heads, headSize: c.dim / c.n_heads },
        ffn: { kind: 'gated', hidden: c.hidden_dim, activation: 'silu' },
        layout: 'out-in',
      },
      moduleNames: llamaModules(c.n_layers, c.shared_classifier),
      names: {
        embed: 'tok_embeddings.weight',
        blocks: blocks(c.n_layers, (i) => {
          const part = (name: string) => ({ weight: `layers.${i}.${name}.weight` })
          return {
            ln1: part('attention_norm'),
            attn: {
              q: part('attention.wq'),
              k: part('attention.wk'),
              v: part('attention.wv'),
              o: part('attention.wo'),
            },
            ln2: part('ffn_norm'),
            mlp: {
              gate: part('feed_forward.w1'),
              up: part('feed_forward.w3'),
              down: part('feed_forward.w2'),
            },
          }
        }),
        lnFinal: { weight: 'norm.weight' },
        head: c.shared_classifier ? undefined : { weight: 'output.weight' },
      },
    }
  },
}
