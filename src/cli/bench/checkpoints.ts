/** Random checkpoints on disk, made once in the temporary folder. */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeSafetensors } from '../../store/index.ts'

/** A Llama of 125M parameters in f32: a file of 500 MB. */
const config = {
  model_type: 'llama',
  vocab_size: 32000,
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_key_value_heads: 12,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: false,
} as const

/** The folder of a random 500 MB model in Hugging Face layout. */
export function randomCheckpoint(): string {
  const folder = join(tmpdir(), 'glossa-bench', 'llama-125m')
  if (existsSync(folder)) return folder
  const {
    hidden_size: width,
    intermediate_size: hidden,
    vocab_size: vocab,
    num_hidden_layers: layers,
  } = config
  const matrix = (rows: number, columns: number) => () => {
    const data = new Float32Array(rows * columns)
    for (let i = 0; i < data.length; i++) data[i] = (((i * 2654435761) >>> 16) & 255) / 4096 - 0.03
    return data
  }
  const shapes: [string, number[]][] = [
    ['model.embed_tokens.weight', [vocab, width]],
    ['model.norm.weight', [width]],
    ['lm_head.weight', [vocab, width]],
  ]
  for (let i = 0; i < layers; i++) {
    const name = (part: string) => `model.layers.${i}.${part}.weight`
    for (const part of ['q', 'k', 'v', 'o']) shapes.push([name(`self_attn.${part}_proj`), [width, width]])
    for (const part of ['gate', 'up']) shapes.push([name(`mlp.${part}_proj`), [hidden, width]])
    shapes.push([name('mlp.down_proj'), [width, hidden]])
    shapes.push([name('input_layernorm'), [width]], [name('post_attention_layernorm'), [width]])
  }
  const draft = `${folder}.${process.pid}`
  mkdirSync(draft, { recursive: true })
  try {
    writeFileSync(join(draft, 'config.json'), JSON.stringify(config))
    writeSafetensors(
      join(draft, 'model.safetensors'),
      shapes.map(([name, shape]) => ({
        name,
        dtype: 'f32' as const,
        shape,
        data: matrix(shape[0]!, shape[1] ?? 1),
      })),
    )
    renameSync(draft, folder)
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
  return folder
}
