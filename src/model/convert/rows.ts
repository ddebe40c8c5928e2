/** Weights as another layout has them. */
import type { Change } from './counterparts.ts'
import { reorderRows } from './rotary.ts'

type Move = Exclude<Change, { readonly kind: 'whole' | 'difference' }>

/** f32 values of a tensor of `shape` after a change, in new memory where they move. */
export function changed(
  values: Float32Array,
  change: Change,
  shape: readonly number[],
  headSize: number,
): Float32Array {
  if (change.kind === 'whole') return values.map((value) => value + 1)
  if (change.kind === 'difference') return values.map((value) => value - 1)
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return new Float32Array(moved(bytes, change, shape, headSize).buffer)
}

/** Elements of any type, row-major, in their order after a change. */
export function moved(
  bytes: Uint8Array,
  change: Move,
  shape: readonly number[],
  headSize: number,
): Uint8Array {
  switch (change.kind) {
    case 'turned':
      return reorderRows(bytes, change.heads, headSize, change.to)
    case 'apart':
      return exchanged(bytes, [change.heads, 3])
    case 'together':
      return exchanged(bytes, [3, change.heads])
    case 'transposed':
      return exchanged(bytes, shape as [number, number])
  }
}

/** [a, b, ...] -> [b, a, ...] */
function exchanged(bytes: Uint8Array, [a, b]: readonly [number, number]): Uint8Array {
  const block = bytes.length / (a * b)
  const out = new Uint8Array(bytes.length)
  for (let i = 0; i < a; i++)
    for (let j = 0; j < b; j++) {
      const from = (i * b + j) * block
      out.set(bytes.subarray(from, from + block), (j * a + i) * block)
    }
  return out
}
