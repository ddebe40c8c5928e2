/** Causal self-attention with grouped queries, with and without a cache of past keys and values. */
import {
  addDims,
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
import type { AttentionCache } from '../cache.ts'
import { type AttentionParams, type DecoderSpec, type Norm, partOf, windowOf } from '../spec.ts'
import type { Taps } from '../taps.ts'
import { biasOf, linear, norm, softcap, withoutBias } from './linear.ts'
import { type RotaryTables, rotate } from './position.ts'

/** Where the tokens of this pass stand; the same for every layer. */
export interface Place {
  /** i32 [batch, T] with a cache, [T] without. */
  readonly positions: Tensor
  /** Positions before those of the tokens, which a prefix takes. */
  readonly offset: number
  /** Whether attention must be composed of single operations. */
  readonly composed: boolean
  /** Whether the cache holds past tokens only, and gets longer by the new ones. */
  readonly grows?: boolean
  /** With a cache: i32 [batch], index of each row's last token, and i32 [], tokens of the longest row. */
  readonly last?: Tensor
  readonly total?: Tensor
  /** Added to scores: 0 where a key may be seen, -inf elsewhere; [T, keys] or [batch, 1, T, keys]. */
  readonly mask: (window: number | undefined) => Tensor
  readonly rotary: RotaryTables | undefined
}

/** How scores are made and whom they reach. */
interface ScoreAttributes {
  readonly scale: number
  readonly softcap?: number | undefined
  readonly window?: number | undefined
}

interface CachedAttributes extends ScoreAttributes {
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly rotary: 'none' | 'halves' | 'interleaved'
  readonly packed: boolean
}

type Identity = (name: string, x: Tensor) => Tensor
const untapped: Identity = (_, x) => x

/** [batch, T, heads * D] -> [batch, T, heads, D] */
export const splitHeads = (x: Tensor, heads: number, headSize: number): Tensor =>
  x.reshape([...x.shape.slice(0, -1), heads, headSize])

/**
 * softmax(cap(q kᵀ scale) + mask) v. q [batch, T, heads, D], keys and values [batch, keyValueHeads, S, D],
 * result [batch, T, heads, D].
 */
export function attend(
  q: Tensor,
  keys: Tensor,
  values: Tensor,
  mask: Tensor,
  attributes: ScoreAttributes,
  tap: Identity,
): Tensor {
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
    softcap(
      queries
        .matmul(grouped(keys), { transposeB: true, alpha: attributes.scale })
        .reshape([batch, heads, time, length]),
      attributes.softcap,
    ).add(mask),
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

/**
 * 0 for the keys that each position may see, -inf for others: up to its own, and from `window` keys on the
 * last ones only. positions [..., T] -> [..., T, keys].
 */
export function visibility(positions: Tensor, keys: Dim, window: number | undefined): Tensor {
  const [key, own] = [iota(keys), positions.expandDims(-1)]
  const past = key.lessEqual(own)
  const seen = window === undefined ? past : past.and(key.greater(own.sub(window)))
  return seen.where(scalar(0), Number.NEGATIVE_INFINITY)
}

/**
 * 0 for the keys that a position may see without a causal mask, -inf for others: all tokens of its row, and with a
 * window those less than that far away on either side. Padding (0 in `mask` [batch, T]) is seen by itself only, so
 * that no row of scores is empty. Result [T, T], or [batch, 1, T, T] with a mask.
 */
export function bothWays(time: Dim, window: number | undefined, mask: Tensor | undefined): Tensor {
  const [key, own] = [iota(time), iota(time).expandDims(-1)]
  let seen = key.greaterEqual(0).broadcastTo([time, time])
  if (window !== undefined) seen = key.less(own.add(window)).and(key.greater(own.sub(window)))
  if (mask) seen = seen.and(mask.greater(0).expandDims(1).expandDims(1)).or(key.equal(own))
  return seen.where(scalar(0), Number.NEGATIVE_INFINITY)
}

/** `visibility` over a cache: positions [batch, T] -> [batch, 1, T, keys]. */
export const cacheMask = (positions: Tensor, keys: Dim, window: number | undefined): Tensor =>
  visibility(positions, keys, window).expandDims(1)

/**
 * Over a cache that grows: the new tokens come after `past` keys, all of which `attended` [batch, keys] may hide.
 * A token sees itself in any case: padding is not seen by others, and its own scores need one that is finite.
 * [batch, 1, T, keys]
 */
export function growingMask(attended: Tensor, past: Dim, time: Dim, window: number | undefined): Tensor {
  const keys = attended.shape[1]!
  const own = iota(time).add(size(past, 'i32'))
  const kept = attended
    .greater(0)
    .expandDims(1)
    .or(iota(keys).equal(own.expandDims(-1)))
  return kept.where(visibility(own, keys, window), Number.NEGATIVE_INFINITY).expandDims(1)
}

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
  const mask = cacheMask(positions, keys!.shape[2]!, attributes.window)
  const z = attend(q, presentKeys, presentValues, mask, attributes, tap)
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
    // There ONNX Runtime 1.30 reads the soft cap and does not apply it.
    if (e.provider === 'webgpu' && attributes.softcap !== undefined) return undefined
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
        scale: { float: attributes.scale },
        ...(attributes.softcap !== undefined && { softcap: { float: attributes.softcap } }),
        ...(attributes.window !== undefined && { local_window_size: attributes.window }),
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
  cache: AttentionCache | undefined,
  taps: Taps,
  layer: number,
): { out: Tensor; cache?: AttentionCache } {
  const {
    heads,
    keyValueHeads,
    headSize,
    scale = 1 / Math.sqrt(headSize),
    softcap: cap,
  } = partOf(spec, 'attention')
  const site = `blocks.${layer}`
  const tap: Identity = (name, value) => taps.at(`${site}.attn.${name}`, value)
  const wanted = (...names: string[]): boolean => names.some((name) => taps.wants(`${site}.attn.${name}`))
  const tapHeads = (name: string, value: Tensor, count: number): Tensor =>
    wanted(name) ? tap(name, splitHeads(value, count, headSize)).reshape(value.shape) : value
  const window = windowOf(spec, layer)
  const scores: ScoreAttributes = { scale, softcap: cap, window }
  const rotary = spec.position.kind === 'rotary' ? spec.position : undefined
  const table = window === undefined ? place.rotary?.full : place.rotary?.windowed
  const [q, k, v] = project3(spec, params, x)
  const projected = [
    normalized(spec, params.qNorm, tapHeads('hook_q', q, heads), heads),
    normalized(spec, params.kNorm, tapHeads('hook_k', k, keyValueHeads), keyValueHeads),
    tapHeads('hook_v', v, keyValueHeads),
  ] as const

  /** What each head mixes from the values: [batch, T, heads * D]. */
  let z: Tensor
  let written: AttentionCache | undefined
  if (cache && !place.grows) {
    const inside = place.composed || wanted('hook_rot_q', 'hook_rot_k', 'hook_attn_scores', 'hook_pattern')
    const untouched = !params.qNorm && !wanted('hook_q', 'hook_k', 'hook_v')
    const packed = 'qkv' in params && joinedInOrder(spec) && untouched && !inside
    const whole = packed ? linear(x, params.qkv, spec.layout) : undefined
    const attributes: CachedAttributes = {
      ...scores,
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
      ...(table ? [table.cos, table.sin] : []),
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
      if (!rotary) return split
      const time = x.shape[1]!
      const [first, end] = [place.offset, addDims(time, place.offset)]
      const [cos, sin] = [table!.cos, table!.sin].map((part) =>
        cache ? part.gather(place.positions) : part.slice(0, first, end),
      )
      return tap(name, rotate(split, cos!, sin!, rotary.interleaved))
    }
    /** To [batch, keyValueHeads, S, D], after a prefix or the past if there is one. */
    const after = (past: Tensor | undefined, prefix: Tensor | undefined, value: Tensor): Tensor => {
      const own = value.transpose([0, 2, 1, 3])
      const before = past ?? prefix?.expandDims(0).broadcastTo([x.shape[0]!, ...prefix.shape])
      return before ? concat([before, own], 2) : own
    }
    const { prefix } = params
    const q = turn(projected[0], heads, 'hook_rot_q')
    const keys = after(cache?.keys, prefix?.keys, turn(projected[1], keyValueHeads, 'hook_rot_k'))
    const values = after(cache?.values, prefix?.values, splitHeads(projected[2], keyValueHeads, headSize))
    z = attend(q, keys, values, place.mask(window), scores, tap).reshape([
      ...x.shape.slice(0, -1),
      heads * headSize,
    ])
    if (cache) written = { keys, values }
  }

  z = tapHeads('hook_z', z, heads)
  const out = wanted('hook_result')
    ? sumHeads(spec, params, splitHeads(z, heads, headSize), tap)
    : linear(z, params.o, spec.layout)
  return written ? { out, cache: written } : { out }
}

/** Whether a joined projection gives all queries, all keys and all values, as they are. */
const joinedInOrder = (spec: DecoderSpec): boolean => {
  const { joinedByHead, clip } = partOf(spec, 'attention')
  return !joinedByHead && clip === undefined
}

/** Queries, keys and values: [batch, T, heads * D] each. */
function project3(spec: DecoderSpec, params: AttentionParams, x: Tensor): [Tensor, Tensor, Tensor] {
  const { heads, keyValueHeads, headSize, joinedByHead, clip } = partOf(spec, 'attention')
  const parts = (): readonly Tensor[] => {
    if (!('qkv' in params)) return [params.q, params.k, params.v].map((part) => linear(x, part, spec.layout))
    const joined = linear(x, params.qkv, spec.layout)
    const [all, some] = [heads * headSize, keyValueHeads * headSize]
    if (!joinedByHead) return joined.split(-1, [all, some, some])
    const outer = x.shape.slice(0, -1)
    return joined
      .reshape([...outer, heads, 3, headSize])
      .split(-2, [1, 1, 1])
      .map((part) => part.reshape([...outer, all]))
  }
  const clamped = (part: Tensor): Tensor => (clip === undefined ? part : part.minimum(clip).maximum(-clip))
  return parts().map(clamped) as [Tensor, Tensor, Tensor]
}

/** x [batch, T, heads * D] through a norm of queries or keys, if the model has one. */
function normalized(spec: DecoderSpec, params: Norm | undefined, x: Tensor, heads: number): Tensor {
  if (!params) return x
  const { normalize, headSize } = partOf(spec, 'attention')
  if (normalize === 'all') return norm(x, params, spec.norm)
  return norm(splitHeads(x, heads, headSize), params, spec.norm).reshape(x.shape)
}

/** The output projection as a sum over what each head writes: [batch, T, heads, width]. */
function sumHeads(spec: DecoderSpec, params: AttentionParams, z: Tensor, tap: Identity): Tensor {
  const { heads, headSize } = partOf(spec, 'attention')
  const alone = Array.from({ length: heads }, (_, head) => {
    const own = z.slice(-2, head, head + 1).reshape([...z.shape.slice(0, -2), headSize])
    // Zeros elsewhere leave the weight as it is, quantised or not.
    const row = own.pad(-1, head * headSize, (heads - 1 - head) * headSize)
    return withoutBias(row, params.o, spec.layout).expandDims(-2)
  })
  const result = tap('hook_result', concat(alone as [Tensor, ...Tensor[]], -2))
  const sum = result.sum(-2)
  const bias = biasOf(params.o)
  return bias ? sum.add(bias) : sum
}
