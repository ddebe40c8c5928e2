/** What a prefix leaves in a cache. */
import { type Tensor, tensor } from '../array/index.ts'
import type { AttentionCache } from './cache.ts'

/**
 * A layer's cache in the shape [batch, heads, capacity, size]: zeros, with the prefix [P, layers, 2, heads, size] at its
 * beginning.
 */
export function prefixedCache(prefix: Tensor, layer: number, shape: readonly number[]): AttentionCache {
  const [batch, heads, capacity, size] = shape as readonly [number, number, number, number]
  const [count, layers] = prefix.sizes as readonly [number, number]
  const from = prefix.data as Float32Array
  const part = (kind: 0 | 1): Tensor => {
    const to = new Float32Array(batch * heads * capacity * size)
    for (let row = 0; row < batch * heads; row++)
      for (let position = 0; position < count; position++) {
        const start = (((position * layers + layer) * 2 + kind) * heads + (row % heads)) * size
        to.set(from.subarray(start, start + size), (row * capacity + position) * size)
      }
    return tensor(to, shape)
  }
  return { keys: part(0), values: part(1) }
}
