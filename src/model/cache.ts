/** What layers remember of the tokens before: keys and values of attention, or the state of a state space. */
import { type Axes, type Tensor, zeros } from '../array/index.ts'
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
