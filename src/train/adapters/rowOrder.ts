/**
 * Queries and keys of GGUF and llama2.c have the rows of each head in another order than Hugging Face's, in which PEFT
 * keeps what belongs to them: rows of B, magnitudes, scales of outputs, keys of a prefix.
 */
import { type Tensor, tensor } from '../../array/index.ts'
import { type RowOrder, reorderRows } from '../../model/convert/rotary.ts'
import type { DecoderSpec } from '../../model/spec.ts'

/** Rows [heads * size, ...] in the other order; as they are where `heads` is undefined. */
export function withRows(leaf: Tensor, heads: number | undefined, to: RowOrder): Tensor {
  if (heads === undefined) return leaf
  return tensor(reorder(leaf.data as Float32Array, heads, leaf.sizes[0]! / heads, to), leaf.sizes)
}

/** A prefix [P, layers, 2, keyValueHeads, headSize] with its keys in the other order, if the model has another. */
export function withKeys(prefix: Tensor, { position }: DecoderSpec, to: RowOrder): Tensor {
  if (position.kind !== 'rotary' || !position.interleaved) return prefix
  const [, , , heads, size] = prefix.sizes as readonly [number, number, number, number, number]
  const data = Float32Array.from(prefix.data as Float32Array)
  const row = heads * size
  for (let at = 0; at < data.length; at += 2 * row)
    data.set(reorder(data.slice(at, at + row), heads, size, to), at)
  return tensor(data, prefix.sizes)
}

function reorder(rows: Float32Array, heads: number, size: number, to: RowOrder): Float32Array {
  const bytes = new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength)
  return new Float32Array(reorderRows(bytes, heads, size, to).buffer)
}
