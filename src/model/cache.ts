/** What layers remember of the tokens before: keys and values of attention, or the state of a state space. */
import { type Axes, type Tensor, tensor, zeros } from '../array/index.ts'
import { type DecoderSpec, mixerOf, partOf } from './spec.ts'

/** Keys and values of one layer: [batch, keyValueHeads, capacity, headSize]. */
export interface AttentionCache {
  readonly keys: Tensor
  readonly values: Tensor
}

/** A state of one layer, of the same size however many tokens it has seen. */
export interface StateCache {
  /** What the convolution still has to see: [batch, kernel - 1, inner], oldest first; zeros at the beginning. */
  readonly conv: Tensor
  /** [batch, inner, state] */
  readonly state: Tensor
}

export type LayerCache = AttentionCache | StateCache

/** One entry a layer. */
export type Cache = readonly LayerCache[]

/** An empty cache for rows of at most `capacity` tokens. */
export function emptyCache(spec: DecoderSpec, batch: number, capacity: number): Cache {
  return Array.from({ length: spec.layers }, (_, layer): LayerCache => {
    if (mixerOf(spec, layer) === 'stateSpace') {
      const { inner, state, kernel } = partOf(spec, 'stateSpace')
      return { conv: zeros([batch, kernel - 1, inner]), state: zeros([batch, inner, state]) }
    }
    const { keyValueHeads, headSize } = partOf(spec, 'attention')
    const shape = [batch, keyValueHeads, capacity, headSize]
    return { keys: zeros(shape), values: zeros(shape) }
  })
}

/** Names of the axes of a cache, layer by layer, for programs of any batch and capacity. */
export const cacheAxes = (spec: DecoderSpec): readonly Axes[] =>
  Array.from({ length: spec.layers }, (_, layer) =>
    mixerOf(spec, layer) === 'stateSpace' ? ['batch', null, null] : ['batch', null, 'capacity', null],
  )

/** Tokens that a row may have, or undefined where no layer bounds them. */
export function capacityOf(cache: Cache): number | undefined {
  for (const layer of cache) if ('keys' in layer) return layer.keys.sizes[2]!
  return undefined
}

/** Whether each token has a place of its own, so that the last ones can be taken back; a state has none. */
export const remembersEvery = (cache: Cache): boolean => cache.every((layer) => 'keys' in layer)

/** A cache for rows of at least `capacity` tokens with what is in this one; itself where it is large enough. */
export async function grownCache(cache: Cache, capacity: number): Promise<Cache> {
  const grown: LayerCache[] = []
  for (const layer of cache) {
    if (!('keys' in layer) || layer.keys.sizes[2]! >= capacity) grown.push(layer)
    else
      grown.push({
        keys: await grownTensor(layer.keys, capacity),
        values: await grownTensor(layer.values, capacity),
      })
  }
  return grown.every((layer, i) => layer === cache[i]) ? cache : grown
}

/** [batch, heads, capacity, size] with a greater capacity: zeros after what there is. */
async function grownTensor(held: Tensor, capacity: number): Promise<Tensor> {
  const from = (await held.load()) as Float32Array
  const [batch, heads, before, size] = held.sizes as [number, number, number, number]
  const to = new Float32Array(batch * heads * capacity * size)
  for (let row = 0; row < batch * heads; row++)
    to.set(from.subarray(row * before * size, (row + 1) * before * size), row * capacity * size)
  return tensor(to, [batch, heads, capacity, size])
}
