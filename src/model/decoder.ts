/** The decoder: one forward pass for training, scoring, prefill and single steps, described by data. */
import { addDims, concat, type Dim, iota, size, type Tensor } from '../array/index.ts'
import type { AttentionCache, Cache, LayerCache, StateCache } from './cache.ts'
import { attention, bothWays, cacheMask, growingMask, type Place, visibility } from './parts/attention.ts'
import { ffn } from './parts/ffn.ts'
import { addNorm, linear, lookUp, norm, softcap } from './parts/linear.ts'
import type { RotaryTables } from './parts/position.ts'
import { type StatePlace, stateSpace } from './parts/stateSpace.ts'
import { type BlockParams, type DecoderParams, type DecoderSpec, mixerOf, type Norm } from './spec.ts'
import type { Taps } from './taps.ts'

export interface ForwardInput {
  /** i32 [batch, T] */
  readonly tokens?: Tensor
  /** Instead of tokens, what stands in the place of their embeddings: f32 [batch, T, width of the embeddings]. */
  readonly embeddings?: Tensor
  /** Past tokens, with i32 [batch]: how many of them each row holds. */
  readonly past?: {
    readonly cache: Cache
    readonly lengths: Tensor
    /** Several tokens for several rows that have a past: the fused operator cannot do that. */
    readonly composed?: boolean
  }
  /**
   * Past tokens of a cache without room, which the new ones are appended to, as exported models pass it on: [batch,
   * heads, past, size]. Rows may be padded anywhere. Only attention can.
   */
  readonly growing?: {
    readonly cache: readonly AttentionCache[]
    /** i32 [batch, T] */
    readonly positions: Tensor
    /** i32 [batch, past + T]: 0 for padding. */
    readonly attended: Tensor
  }
  /**
   * i32 [batch]: compute logits at this position of each row only, [batch, 1, vocab]. It is the row's last: with a
   * cache, tokens after it are padding.
   */
  readonly at?: Tensor
  /**
   * Positions see what comes after them too, without a causal mask. `mask` [batch, T] has 0 for padding, which nobody
   * sees but itself. (With a causal mask, padding behind the tokens is hidden from them anyway.)
   */
  readonly bidirectional?: { readonly mask?: Tensor | undefined } | undefined
}

export interface ForwardOutput {
  /** [batch, T, vocab] */
  readonly logits: Tensor
  readonly cache?: Cache
}

/** Positions that the prefix takes from the tokens. */
export const prefixLength = ({ blocks }: DecoderParams): number =>
  (blocks[0]?.attn?.prefix?.keys.shape[1] as number | undefined) ?? 0

/**
 * Where tokens stand and what they may see. Computed once and shared by the layers. `time` counts the tokens and
 * a soft prompt before them, `offset` the prefix.
 */
function placeOf(
  { past, growing, bidirectional }: ForwardInput,
  time: Dim,
  offset: number,
  rotary: RotaryTables | undefined,
): Place {
  const once = (make: (window: number | undefined) => Tensor): Place['mask'] => {
    const made = new Map<number | undefined, Tensor>()
    return (window) => {
      if (!made.has(window)) made.set(window, make(window))
      return made.get(window)!
    }
  }
  if (bidirectional && (past || growing))
    throw new Error(
      'a cache holds what earlier tokens saw: without a causal mask the row is computed as a whole',
    )
  if (bidirectional) {
    if (offset > 0) throw new Error('a prefix is for models with a causal mask')
    const mask = once((window) => bothWays(time, window, bidirectional.mask))
    return { positions: iota(time), offset, composed: true, mask, rotary }
  }
  if (growing) {
    const { cache, positions, attended } = growing
    const mask = once((window) => growingMask(attended, cache[0]!.keys.shape[2]!, time, window))
    return { positions, offset, composed: true, grows: true, mask, rotary }
  }
  if (!past) {
    const positions = offset === 0 ? iota(time) : iota(time).add(offset)
    const mask = once((window) => visibility(positions, addDims(time, offset), window))
    return { positions, offset, composed: true, mask, rotary }
  }
  const { cache, composed = false } = past
  // The cache holds the prefix before the tokens.
  const lengths = offset === 0 ? past.lengths : past.lengths.add(offset)
  const positions = lengths.expandDims(-1).add(iota(time))
  const end = lengths.add(size(time, 'i32'))
  const capacity = cache.flatMap((layer) => ('keys' in layer ? [layer.keys.shape[2]!] : []))[0]
  return {
    positions,
    offset,
    composed,
    last: end.sub(1),
    total: end.max(),
    mask: once((window) => cacheMask(positions, capacity!, window)),
    rotary,
  }
}

/** Where rows end, for mixers with a state. Without a cache nothing comes after the padding. */
function endsOf({ past, at }: ForwardInput, time: Dim): StatePlace {
  if (!past || !at) return {}
  return { last: at, own: iota(time).lessEqual(at.expandDims(-1)).expandDims(-1) }
}

export function forward(
  spec: DecoderSpec,
  params: DecoderParams,
  input: ForwardInput,
  rotary: RotaryTables | undefined,
  taps: Taps,
): ForwardOutput {
  const { prompt } = params
  if (prompt && (input.past || input.at))
    throw new Error('a soft prompt goes on as the prefix that it leaves behind: attach it with `attach`')
  const count = (prompt?.shape[0] as number | undefined) ?? 0
  if (!input.tokens === !input.embeddings) throw new Error('forward takes either tokens or embeddings')
  if (input.past || input.growing) taps.refuseCache()
  const rows = input.embeddings ?? embed(spec, params, input.tokens!)
  const time = rows.shape[1]!
  const place = placeOf(input, addDims(time, count), prefixLength(params), rotary)
  const ends = endsOf(input, time)
  if (input.bidirectional && (prompt || spec.stateSpace))
    throw new Error('a soft prompt and layers with a state are for models with a causal mask')
  let residual = taps.at('hook_embed', enter(spec, params, rows))
  if (params.positions && spec.position.kind === 'learned') {
    const { offset = 0 } = spec.position
    const learned = params.positions.gather(offset === 0 ? place.positions : place.positions.add(offset))
    residual = residual.add(taps.at('hook_pos_embed', learned.broadcastTo(residual.shape)))
  }

  // The last part's output, not yet added to the residual: sum and norm are one operator unless a tap looks
  // in between.
  let update: Tensor | undefined
  const settle = (...sites: readonly string[]): void => {
    if (update) residual = residual.add(update)
    update = undefined
    for (const site of sites) residual = taps.at(site, residual)
  }
  const normed = (params: Norm | undefined, ...sites: readonly string[]): Tensor => {
    if (!params) {
      settle(...sites)
      return residual
    }
    if (!update || sites.some((site) => taps.wants(site))) {
      settle(...sites)
      return norm(residual, params, spec.norm)
    }
    const joined = addNorm(residual, update, params, spec.norm)
    residual = joined.sum
    update = undefined
    return joined.normal
  }
  /** Goes on with the wanted rows only. */
  const narrow = (at: Tensor): void => {
    residual = rowsAt(residual, at)
    update = update && rowsAt(update, at)
  }

  const given = (input.growing ?? input.past)?.cache
  const mix = (block: BlockParams, x: Tensor, layer: number): { out: Tensor; cache?: LayerCache } => {
    const own = given?.[layer]
    return mixerOf(spec, layer) === 'stateSpace'
      ? stateSpace(spec, block.ssm!, x, ends, own as StateCache | undefined, taps, layer)
      : attention(spec, block.attn!, x, place, own as AttentionCache | undefined, taps, layer)
  }

  const cache: LayerCache[] = []
  let incoming: readonly string[] = []
  const afterSum = spec.norm.place === 'sum'
  /** Whether a block is tapped after its mixer, where the first norm may stand too. */
  const tappedLater = (site: string): boolean =>
    taps.wantsAfterMixer(site) || (afterSum && taps.wants(`${site}.ln1.hook_normalized`))
  /** Adds the update to the residual and goes on with the norm of the sum. */
  const normalizeSum = (name: string, params: Norm | undefined, ...sites: readonly string[]): void => {
    residual = taps.at(`${name}.hook_normalized`, normed(params, ...sites))
  }
  params.blocks.forEach((block, layer) => {
    const site = `blocks.${layer}`
    /** A norm that stands before or after a part, with its tap. */
    const tapped = (name: string, value: Tensor): Tensor => taps.at(`${site}.${name}.hook_normalized`, value)
    const after = (name: string, params: Norm | undefined, value: Tensor): Tensor =>
      params ? tapped(name, norm(value, params, spec.norm)) : value
    const before = normed(afterSum ? undefined : block.ln1, ...incoming, `${site}.hook_resid_pre`)
    const first = block.ln1 && !afterSum ? tapped('ln1', before) : before
    const mixer = mixerOf(spec, layer) === 'stateSpace' ? 'ssm' : 'attn'
    const mixture = mix(block, first, layer)
    if (mixture.cache) cache.push(mixture.cache)
    let mixed = taps.at(`${site}.hook_${mixer}_out`, after('ln1_post', block.ln1Post, mixture.out))
    // After the last mixer positions no longer meet: those whose logits nobody wants can stop here.
    const last = input.at && layer === spec.layers - 1 && !tappedLater(site)
    if (!block.mlp) {
      incoming = [`${site}.hook_resid_post`]
      update = mixed
      if (last) narrow(input.at!)
      return
    }
    let second: Tensor
    if (spec.parallel) {
      if (last) {
        mixed = rowsAt(mixed, input.at!)
        narrow(input.at!)
      }
      second = block.ln2
        ? tapped('ln2', norm(residual, block.ln2, spec.norm))
        : last
          ? rowsAt(first, input.at!)
          : first
    } else {
      update = mixed
      if (last) narrow(input.at!)
      if (afterSum) {
        normalizeSum(`${site}.ln1`, block.ln1, `${site}.hook_resid_mid`)
        second = residual
      } else {
        const value = normed(block.ln2, `${site}.hook_resid_mid`)
        second = block.ln2 ? tapped('ln2', value) : value
      }
    }
    const written = taps.at(
      `${site}.hook_mlp_out`,
      after('ln2_post', block.ln2Post, ffn(spec, block.mlp, second, taps, site)),
    )
    update = spec.parallel ? mixed.add(written) : written
    if (afterSum) normalizeSum(`${site}.ln2`, block.ln2)
    incoming = [`${site}.hook_resid_post`]
  })

  const last = `blocks.${spec.layers - 1}`
  if (input.at && tappedLater(last)) {
    settle(...incoming)
    incoming = []
    narrow(input.at)
  }
  // From here on a soft prompt has done its work.
  if (count > 0) {
    settle(...incoming)
    incoming = []
    residual = residual.slice(1, count)
  }
  const normal = normed(params.lnFinal, ...incoming)
  const final = params.lnFinal ? taps.at('ln_final.hook_normalized', normal) : normal
  const logits = softcap(unembed(params, final), spec.logitSoftcap)
  return { logits: taps.at('logits', logits), ...(given && { cache }) }
}

/** What the head reads from normalised residuals [..., width]: logits before a soft cap, [..., vocab]. */
export function unembed(params: DecoderParams, final: Tensor): Tensor {
  // A head is a row for each token, whatever the layout of the blocks.
  const read = params.projectOut ? linear(final, params.projectOut, 'out-in') : final
  return linear(read, params.head ?? { weight: params.embed }, 'out-in')
}

/** The rows of the embedding for tokens [batch, T]: [batch, T, width of the embeddings]. */
export function embed(spec: DecoderSpec, params: DecoderParams, tokens: Tensor): Tensor {
  let rows = lookUp(params.embed, tokens, spec.embedWidth ?? spec.width)
  for (const { a, b, scale, strength } of params.embedAdapters ?? []) {
    const low = a.transpose().gather(tokens).mul(scale.mul(strength))
    rows = rows.add(low.matmul(b, { transposeB: true }))
  }
  return rows
}

/** A soft prompt and embeddings [batch, T, width of the embeddings] as the residual begins: [batch, P + T, width]. */
function enter(spec: DecoderSpec, params: DecoderParams, embeddings: Tensor): Tensor {
  const { prompt } = params
  let rows = embeddings
  if (prompt) rows = concat([prompt.expandDims(0).broadcastTo([rows.shape[0]!, ...prompt.shape]), rows], 1)
  if (params.projectIn) rows = linear(rows, params.projectIn, 'out-in')
  return spec.embedScale === undefined ? rows : rows.mul(spec.embedScale)
}

/** x [batch, T, width] at one position a row: [batch, 1, width]. */
function rowsAt(x: Tensor, at: Tensor): Tensor {
  const [batch, time, width] = x.shape as [never, never, number]
  const rows = iota(batch).mul(size(time, 'i32')).add(at)
  return x.reshape([-1, width]).gather(rows).expandDims(1)
}
