/** The decoder: one forward pass for training, scoring, prefill and single steps, described by data. */
import { type Dim, iota, size, type Tensor } from '../array/index.ts'
import { attention, cacheMask, type LayerCache, type Place, visibility } from './parts/attention.ts'
import { ffn } from './parts/ffn.ts'
import { addNorm, linear, lookUp, norm, softcap } from './parts/linear.ts'
import type { RotaryTables } from './parts/position.ts'
import type { DecoderParams, DecoderSpec, Norm } from './spec.ts'
import type { Taps } from './taps.ts'

/** Past keys and values, one entry a layer. */
export type Cache = readonly LayerCache[]

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
  /** i32 [batch]: compute logits at this position of each row only, [batch, 1, vocab]. */
  readonly at?: Tensor
}

export interface ForwardOutput {
  /** [batch, T, vocab] */
  readonly logits: Tensor
  readonly cache?: Cache
}

/** The embeddings of tokens [..., T], as the forward pass takes them: [..., T, width of the embeddings]. */
export const embed = (spec: DecoderSpec, params: DecoderParams, tokens: Tensor): Tensor =>
  lookUp(params.embed, tokens, spec.embedWidth ?? spec.width)

/** Where tokens stand and what they may see. Computed once and shared by the layers. */
function placeOf(time: Dim, { past }: ForwardInput, rotary: RotaryTables | undefined): Place {
  const once = (make: (window: number | undefined) => Tensor): Place['mask'] => {
    const made = new Map<number | undefined, Tensor>()
    return (window) => {
      if (!made.has(window)) made.set(window, make(window))
      return made.get(window)!
    }
  }
  if (!past) {
    const positions = iota(time)
    const mask = once((window) => visibility(positions, time, window))
    return { positions, composed: true, mask, rotary }
  }
  const { cache, lengths, composed = false } = past
  const positions = lengths.expandDims(-1).add(iota(time))
  const end = lengths.add(size(time, 'i32'))
  const capacity = cache[0]!.keys.shape[2]!
  return {
    positions,
    composed,
    last: end.sub(1),
    total: end.max(),
    mask: once((window) => cacheMask(positions, capacity, window)),
    rotary,
  }
}

export function forward(
  spec: DecoderSpec,
  params: DecoderParams,
  input: ForwardInput,
  rotary: RotaryTables | undefined,
  taps: Taps,
): ForwardOutput {
  if (!input.tokens === !input.embeddings) throw new Error('forward takes either tokens or embeddings')
  if (input.past) taps.refuseCache()
  const found = input.embeddings ?? embed(spec, params, input.tokens!)
  const place = placeOf(found.shape[1]!, input, rotary)
  const embedded = params.projectIn ? linear(found, params.projectIn, 'out-in') : found
  let residual = taps.at(
    'hook_embed',
    spec.embedScale === undefined ? embedded : embedded.mul(spec.embedScale),
  )
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

  const cache: LayerCache[] = []
  let incoming: readonly string[] = []
  const afterSum = spec.norm.place === 'sum'
  /** Whether a block is tapped after its attention, where the first norm may stand too. */
  const tappedLater = (site: string): boolean =>
    taps.wantsAfterAttention(site) || (afterSum && taps.wants(`${site}.ln1.hook_normalized`))
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
    const attended = attention(spec, block.attn, first, place, input.past?.cache[layer], taps, layer)
    if (attended.cache) cache.push(attended.cache)
    let mixed = taps.at(`${site}.hook_attn_out`, after('ln1_post', block.ln1Post, attended.out))
    // After the last attention rows no longer meet: those whose logits nobody wants can stop here.
    const last = input.at && layer === spec.layers - 1 && !tappedLater(site)
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
  const normal = normed(params.lnFinal, ...incoming)
  const final = params.lnFinal ? taps.at('ln_final.hook_normalized', normal) : normal
  // A head is a row for each token, whatever the layout of the blocks.
  const read = params.projectOut ? linear(final, params.projectOut, 'out-in') : final
  const logits = linear(read, params.head ?? { weight: params.embed }, 'out-in')
  return { logits: taps.at('logits', softcap(logits, spec.logitSoftcap)), ...(input.past && { cache }) }
}

/** x [batch, T, width] at one position a row: [batch, 1, width]. */
function rowsAt(x: Tensor, at: Tensor): Tensor {
  const [batch, time, width] = x.shape as [never, never, number]
  const rows = iota(batch).mul(size(time, 'i32')).add(at)
  return x.reshape([-1, width]).gather(rows).expandDims(1)
}
