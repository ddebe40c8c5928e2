/** Causal self-attention with grouped queries, with and without a cache of past keys and values. */
import {
  concat,
  type Dim,
  fused,
  iota,
  type Shape,
  scalar,
  size,
  softmax,
  type Tensor,
} from '../../array/index.ts'
import type { AttentionParams, DecoderSpec } from '../spec.ts'
import type { Taps } from '../taps.ts'
import { linear, project } from './linear.ts'
import { type RotaryTable, rotate } from './position.ts'

/** Keys and values of one layer: [batch, keyValueHeads, capacity, headSize]. */
export interface LayerCache {
  readonly keys: Tensor
  readonly values: Tensor
}

/** Where the tokens of this pass stand; the same for every layer. */
export interface Place {
  /** i32 [batch, T] with a cache, [T] without. */
  readonly positions: Tensor
  /** Whether attention must be composed of single operations. */
  readonly composed: boolean
  /** With a cache: i32 [batch], index of each row's last token, and i32 [], tokens of the longest row. */
  readonly last?: Tensor
  readonly total?: Tensor
  /** Added to scores: 0 where a key may be seen, -inf elsewhere; [T, keys] or [batch, 1, T, keys]. */
  readonly mask: () => Tensor
  readonly rotary: RotaryTable | undefined
}

interface CachedAttributes {
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly rotary: 'none' | 'halves' | 'interleaved'
  readonly packed: boolean
}

type Identity = (name: string, x: Tensor) => Tensor
const untapped: Identity = (_, x) => x

/** [batch, T, heads * D] -> [batch, T, heads, D] */
const splitHeads = (x: Tensor, heads: number, headSize: number): Tensor =>
  x.reshape([...x.shape.slice(0, -1), heads, headSize])

/**
 * softmax(q kᵀ / sqrt(D) + mask) v. q [batch, T, heads, D], keys and values [batch, keyValueHeads, S, D],
 * result [batch, T, heads, D].
 */
function attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor, tap: Identity): Tensor {
  const [batch, time, heads, headSize] = q.shape as [Dim, Dim, number, number]
  const keyHeads = keys.shape[1] as number
  const group = heads / keyHeads
  const length = keys.shape[2]!
  // Queries of one group share a key head: [batch, K, group, T, D] against [batch, K, 1, S, D].
  const grouped = (x: Tensor): Tensor => (group === 1 ? x : x.reshape([batch, keyHeads, 1, length, headSize]))
  const shape: Shape = group === 1 ? [batch, heads, time] : [batch, keyHeads, group, time]
  const queries = q.transpose([0, 2, 1, 3]).reshape([...shape, headSize])
  const scores = tap(
    'hook_attn_scores',
    queries
      .matmul(grouped(keys), { transposeB: true, alpha: 1 / Math.sqrt(headSize) })
      .reshape([batch, heads, time, length])
      .add(mask),
  )
  const pattern = tap('hook_pattern', softmax(scores))
  const mixed = pattern.reshape([...shape, length]).matmul(grouped(values))
  return mixed.reshape([batch, heads, time, headSize]).transpose([0, 2, 1, 3])
}

/** Writes new keys or values [batch, T, K, D] into the cache at `positions` [batch, T]. */
function write(past: Tensor, fresh: Tensor, positions: Tensor): Tensor {
  const update = fresh.transpose([0, 2, 1, 3])
  const [batch, time] = positions.shape as [Dim, Dim]
  const at = positions.reshape([batch, 1, time, 1]).broadcastTo(update.shape)
  return past.scatterElements(at, update, 2, 'set')
}

/** 0 for keys up to each token's own position, -inf after. positions [batch, T] -> [batch, 1, T, keys]. */
export const cacheMask = (positions: Tensor, keys: Dim): Tensor =>
  iota(keys).lessEqual(positions.expandDims(-1)).where(scalar(0), Number.NEGATIVE_INFINITY).expandDims(1)

function cachedBody(inputs: readonly Tensor[], attributes: CachedAttributes, tap = untapped): Tensor[] {
  const { heads, keyValueHeads, headSize, packed } = attributes
  const [query, key, value, keys, values, last, , cos, sin] = inputs as Tensor[]
  const [q0, k0, v] = packed
    ? query!.split(-1, [heads * headSize, keyValueHeads * headSize, keyValueHeads * headSize])
    : [query!, key!, value!]
  const time = query!.shape[1]!
  const positions = last!.expandDims(-1).add(iota(time)).sub(size(time, 'i32').sub(1))
  const turn = (x: Tensor, count: number, name: string): Tensor => {
    const split = splitHeads(x, count, headSize)
    if (attributes.rotary === 'none') return split
    return tap(
      name,
      rotate(split, cos!.gather(positions), sin!.gather(positions), attributes.rotary === 'interleaved'),
    )
  }
  const q = turn(q0!, heads, 'hook_rot_q')
  const k = turn(k0!, keyValueHeads, 'hook_rot_k')
  const presentKeys = write(keys!, k, positions)
  const presentValues = write(values!, splitHeads(v!, keyValueHeads, headSize), positions)
  const z = attend(q, presentKeys, presentValues, cacheMask(positions, keys!.shape[2]!), tap)
  return [z.reshape([...query!.shape.slice(0, -1), heads * headSize]), presentKeys, presentValues]
}

/**
 * Attention over a cache, which is written in place by the fused operator. Inputs: q, k, v [batch, T,
 * heads * D] (or all in q where `packed`), keys and values of the cache, last, total, cos, sin.
 */
const cachedAttention = fused<CachedAttributes>({
  name: 'cachedAttention',
  body: (inputs, attributes) => cachedBody(inputs, attributes),
  overwrites: { 1: 3, 2: 4 },
  onnx(e, inputs, { inputs: [query], attributes }) {
    const [q, k, v, keys, values, last, total, cos, sin] = inputs
    const rotary = attributes.rotary !== 'none'
    // The operator rotates only heads whose size is a multiple of 16.
    if (query!.dtype !== 'f32' || (rotary && attributes.headSize % 16 !== 0)) return undefined
    return e.nodes(
      'GroupQueryAttention',
      [
        q!,
        attributes.packed ? undefined : k!,
        attributes.packed ? undefined : v!,
        keys!,
        values!,
        last!,
        total!,
        ...(rotary ? [cos!, sin!] : []),
      ],
      3,
      {
        num_heads: attributes.heads,
        kv_num_heads: attributes.keyValueHeads,
        scale: { float: 1 / Math.sqrt(attributes.headSize) },
        do_rotary: Number(rotary),
        rotary_interleaved: Number(attributes.rotary === 'interleaved'),
      },
      'com.microsoft',
    )
  },
})

/** x [batch, T, width] (normalised) -> [batch, T, width], and the layer's cache with the new tokens in it. */
export function attention(
  spec: DecoderSpec,
  params: AttentionParams,
  x: Tensor,
  place: Place,
  cache: LayerCache | undefined,
  taps: Taps,
  site: string,
): { out: Tensor; cache?: LayerCache } {
  const { heads, keyValueHeads, headSize } = spec.attention
  const tap: Identity = (name, value) => taps.at(`${site}.attn.${name}`, value)
  const wanted = (...names: string[]): boolean => names.some((name) => taps.wants(`${site}.attn.${name}`))
  const sizes = [heads * headSize, keyValueHeads * headSize, keyValueHeads * headSize]
  const [q, k, v] =
    'qkv' in params
      ? linear(x, params.qkv, spec.layout).split(-1, sizes)
      : [params.q, params.k, params.v].map((part) => linear(x, part, spec.layout))
  const tapHeads = (name: string, value: Tensor, count: number): Tensor =>
    wanted(name) ? tap(name, splitHeads(value, count, headSize)).reshape(value.shape) : value
  const projected = [
    tapHeads('hook_q', q!, heads),
    tapHeads('hook_k', k!, keyValueHeads),
    tapHeads('hook_v', v!, keyValueHeads),
  ] as const

  /** What each head mixes from the values: [batch, T, heads * D]. */
  let z: Tensor
  let written: LayerCache | undefined
  if (cache) {
    const inside = place.composed || wanted('hook_rot_q', 'hook_rot_k', 'hook_attn_scores', 'hook_pattern')
    const rotary = spec.position.kind === 'rotary' ? spec.position : undefined
    const packed = 'qkv' in params && !inside && !wanted('hook_q', 'hook_k', 'hook_v')
    const whole = packed ? linear(x, params.qkv, spec.layout) : undefined
    const attributes: CachedAttributes = {
      heads,
      keyValueHeads,
      headSize,
      rotary: rotary ? (rotary.interleaved ? 'interleaved' : 'halves') : 'none',
      packed,
    }
    const inputs = [
      ...(whole ? [whole, whole, whole] : projected),
      cache.keys,
      cache.values,
      place.last!,
      place.total!,
      ...(place.rotary ? [place.rotary.cos, place.rotary.sin] : []),
    ]
    // What happens inside the operator can only be tapped in its composed form.
    const [out, keys, values] = inside
      ? cachedBody(inputs, attributes, tap)
      : cachedAttention(inputs, attributes)
    z = out!
    written = { keys: keys!, values: values! }
  } else {
    const turn = (value: Tensor, count: number, name: string): Tensor => {
      const split = splitHeads(value, count, headSize)
      if (spec.position.kind !== 'rotary') return split
      const { cos, sin } = place.rotary!
      const time = x.shape[1]!
      return tap(name, rotate(split, cos.slice(0, 0, time), sin.slice(0, 0, time), spec.position.interleaved))
    }
    const toFront = (value: Tensor): Tensor => value.transpose([0, 2, 1, 3])
    z = attend(
      turn(projected[0], heads, 'hook_rot_q'),
      toFront(turn(projected[1], keyValueHeads, 'hook_rot_k')),
      toFront(splitHeads(projected[2], keyValueHeads, headSize)),
      place.mask(),
      tap,
    ).reshape([...x.shape.slice(0, -1), heads * headSize])
  }

  z = tapHeads('hook_z', z, heads)
  const out = wanted('hook_result')
    ? sumHeads(spec, params, splitHeads(z, heads, headSize), tap)
    : linear(z, params.o, spec.layout)
  return written ? { out, cache: written } : { out }
}

/** The output projection as a sum over what each head writes: [batch, T, heads, width]. */
function sumHeads(spec: DecoderSpec, params: AttentionParams, z: Tensor, tap: Identity): Tensor {
  const { heads, headSize } = spec.attention
  const alone = Array.from({ length: heads }, (_, head) => {
    const own = z.slice(-2, head, head + 1).reshape([...z.shape.slice(0, -2), headSize])
    // Zeros elsewhere leave the weight as it is, quantised or not.
    const row = own.pad(-1, head * headSize, (heads - 1 - head) * headSize)
    return project(row, params.o.weight, spec.layout).expandDims(-2)
  })
  const result = tap('hook_result', concat(alone as [Tensor, ...Tensor[]], -2))
  const sum = result.sum(-2)
  return params.o.bias ? sum.add(params.o.bias) : sum
}
