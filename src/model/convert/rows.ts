/** Weights as another layout has them. */
import type { Change } from './counterparts.ts'
import { reorderRows } from './rotary.ts'

/** f32 values of a tensor of `shape` after a change, in new memory where they move. */
export function changed(
  values: Float32Array,
  change: Change,
  shape: readonly number[],
  headSize: number,
): Float32Array {
  switch (change.kind) {
    case 'turned': {
      const rows = reorderRows(new Uint8Array(values.buffer), change.heads, headSize, 'neighbours')
      return new Float32Array(rows.buffer)
    }
    case 'apart':
      return apart(values, change.heads, headSize)
    case 'transposed': {
      const [inner, out] = shape as [number, number]
      return values.map((_, i) => values[(i % inner) * out + Math.floor(i / inner)]!)
    }
    case 'whole':
      return values.map((value) => value + 1)
  }
}

/** [heads, 3, size, ...] -> [3, heads, size, ...] */
function apart(values: Float32Array, heads: number, headSize: number): Float32Array {
  const block = (values.length / (heads * 3 * headSize)) * headSize
  const out = new Float32Array(values.length)
  for (let head = 0; head < heads; head++)
    for (let part = 0; part < 3; part++) {
      const from = (3 * head + part) * block
      out.set(values.subarray(from, from + block), (part * heads + head) * block)
    }
  return out
}
