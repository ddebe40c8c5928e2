/**
 * Checkpoints of karpathy's llama2.c (https://github.com/karpathy/llama2.c, `export.py`): a header of 32-bit
 * integers, then every tensor in f32 in a fixed order, equal tensors of all layers together.
 *
 *   v0  dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size (negative: classifier not shared), seq_len
 *   v1  0x616b3432 ('ak42'), 1, the same seven, u8 whether the classifier is shared, zeros up to byte 256
 *
 * Names are Meta's: `tok_embeddings.weight` [vocab_size, dim], `norm.weight` [dim], `output.weight` (only if
 * not shared) and in `layers.N`: `attention_norm`, `ffn_norm` [dim], `attention.wq`, `.wo` [dim, dim],
 * `attention.wk`, `.wv` [n_kv_heads * head size, dim], `feed_forward.w1`, `.w3` [hidden_dim, dim], `.w2`
 * [dim, hidden_dim]. Rotary pairs are neighbouring rows of wq and wk, as in Meta's checkpoints and in GGUF,
 * unlike Hugging Face's.
 */
import { type Checkpoint, elementCount, type TensorEntry } from './checkpoint.ts'
import { SourceFile } from './file.ts'
import type { Source } from './source.ts'

export const llama2cMagic = 0x616b3432

/** Opens a v0 or v1 file. FileError unless header and file size agree to the byte. */
export function openLlama2c(path: string): Checkpoint {
  using file = new SourceFile(path)
  const { start, ...metadata } = readHeader(file)
  const groups = layout(metadata)
  const floats = groups.reduce((sum, { shape, copies }) => sum + elementCount(shape) * copies, 0)
  const size = start + 4 * floats
  if (size !== file.size)
    throw file.error(
      0,
      `this llama2.c header asks for ${size} bytes, the file has ${file.size}`,
      'Is it complete?',
    )

  const tensors = new Map<string, TensorEntry>()
  let offset = start
  for (const { name, shape, copies } of groups) {
    const bytes = 4 * elementCount(shape)
    for (let copy = 0; copy < copies; copy++, offset += bytes) {
      if (name === undefined) continue
      const full = name.replace('*', String(copy))
      tensors.set(full, { name: full, type: 'f32', shape, file: path, source: file, offset, bytes })
    }
  }
  return { path, format: 'llama2c', tensors, metadata }
}

function readHeader(file: Source) {
  const versioned = Buffer.from(file.read(0, 4)).readUInt32LE() === llama2cMagic
  const version = versioned ? Buffer.from(file.read(4, 4)).readInt32LE() : 0
  if (versioned && version !== 1)
    throw file.error(4, `llama2.c version ${version} is not supported`, 'Export it again with --version 1')
  const at = versioned ? 8 : 0
  const numbers = Buffer.from(file.read(at, 28))
  const flag = versioned ? file.read(36, 1)[0] : undefined
  const field = (index: number, name: string, value = numbers.readInt32LE(4 * index)): number => {
    if (value < 1) throw file.error(at + 4 * index, `not a llama2.c checkpoint: ${name} would be ${value}`)
    return value
  }
  const signed = numbers.readInt32LE(20)
  const header = {
    start: versioned ? 256 : 28,
    version,
    dim: field(0, 'dim'),
    hidden_dim: field(1, 'hidden_dim'),
    n_layers: field(2, 'n_layers'),
    n_heads: field(3, 'n_heads'),
    n_kv_heads: field(4, 'n_kv_heads'),
    vocab_size: field(5, 'vocab_size', versioned ? signed : Math.abs(signed)),
    seq_len: field(6, 'seq_len'),
    shared_classifier: versioned ? flag === 1 : signed > 0,
  }
  const { dim, n_heads, n_kv_heads } = header
  if (dim % (2 * n_heads) !== 0 || n_heads % n_kv_heads !== 0)
    throw file.error(
      at,
      `not a llama2.c checkpoint: dim ${dim}, ${n_heads} heads and ${n_kv_heads} key heads do not fit`,
    )
  if (versioned && flag !== 0 && flag !== 1)
    throw file.error(36, `the flag for a shared classifier is ${flag}, not 0 or 1`)
  return header
}

type Header = Omit<ReturnType<typeof readHeader>, 'start'>

/** Tensors of one shape that follow each other: one for every layer (`*`), or one; skipped if unnamed. */
interface Group {
  readonly name?: string
  readonly shape: readonly number[]
  readonly copies: number
}

function layout(header: Header): Group[] {
  const { version, dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len } = header
  const keys = (dim / n_heads) * n_kv_heads
  const single = (name: string, ...shape: number[]): Group => ({ name: `${name}.weight`, shape, copies: 1 })
  const layered = (name: string, ...shape: number[]): Group => ({
    name: `layers.*.${name}.weight`,
    shape,
    copies: n_layers,
  })
  const embedding = single('tok_embeddings', vocab_size, dim)
  const attentionNorm = layered('attention_norm', dim)
  const attention = [
    layered('attention.wq', dim, dim),
    layered('attention.wk', keys, dim),
    layered('attention.wv', keys, dim),
    layered('attention.wo', dim, dim),
  ]
  const ffnNorm = layered('ffn_norm', dim)
  const ffn = [
    layered('feed_forward.w1', hidden_dim, dim),
    layered('feed_forward.w2', dim, hidden_dim),
    layered('feed_forward.w3', hidden_dim, dim),
  ]
  const norm = single('norm', dim)
  const output = header.shared_classifier ? [] : [single('output', vocab_size, dim)]
  if (version === 1) return [attentionNorm, ffnNorm, norm, embedding, ...attention, ...ffn, ...output]
  // Tables of cosines and sines, which run.c skips as well.
  const rotary: Group = { shape: [seq_len, dim / n_heads / 2], copies: 2 }
  return [embedding, attentionNorm, ...attention, ffnNorm, ...ffn, norm, rotary, ...output]
}
