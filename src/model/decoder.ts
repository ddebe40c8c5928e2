/** The decoder: one forward pass for training, scoring, prefill and single steps, described by data. */
import { iota, scalar, size, type Tensor } from '../array/index.ts'
import { attention, cacheMask, type LayerCache, type Place } from './parts/attention.ts'
import { ffn } from './parts/ffn.ts'
import { addNorm, linear, lookUp, norm, project } from './parts/linear.ts'
import type { RotaryTable } from './parts/position.ts'
import type { DecoderParams, DecoderSpec, Norm } from './spec.ts'
import type { Taps } from './taps.ts'

/** Past keys and values, one entry a layer. */
export type Cache = readonly LayerCache[]

export interface ForwardInput {
  /** i32 [batch, T] */
  readonly tokens: Tensor
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

/** Where tokens stand and what they may see. Computed once and shared by the layers. */
function placeOf({ tokens, past }: ForwardInput, rotary: RotaryTable | undefined): Place {
  const time = tokens.shape[1]!
  if (!past) {
    const positions = iota(time)
    const visible = positions.lessEqual(positions.expandDims(-1))
    const mask = visible.where(scalar(0), Number.NEGATIVE_INFINITY)
    return { positions, composed: true, mask: () => mask, rotary }
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
    mask: () => cacheMask(positions, capacity),
    rotary,
  }
}

export function forward(
  spec: DecoderSpec,
  params: DecoderParams,
  input: ForwardInput,
  rotary: RotaryTable | undefined,
  taps: Taps,
): ForwardOutput {
  const place = placeOf(input, rotary)
  let residual = taps.at('hook_embed', lookUp(params.embed, input.tokens, spec.width))
  if (params.positions) {
    const table = params.positions
    const learned = input.past ? table.gather(place.positions) : table.slice(0, 0, input.tokens.shape[1]!)
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
  const normed = (params: Norm, ...sites: readonly string[]): Tensor => {
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
  params.blocks.forEach((block, layer) => {
    const site = `blocks.${layer}`
    const normal = normed(block.ln1, ...incoming, `${site}.hook_resid_pre`)
    const attended = attention(
      spec,
      block.attn,
      taps.at(`${site}.ln1.hook_normalized`, normal),
      place,
      input.past?.cache[layer],
      taps,
      site,
    )
    if (attended.cache) cache.push(attended.cache)
    update = taps.at(`${site}.hook_attn_out`, attended.out)
    // After the last attention rows no longer meet: those whose logits nobody wants can stop here.
    if (input.at && layer === spec.layers - 1 && !taps.wantsAfterAttention(site)) narrow(input.at)
    const second = normed(block.ln2, `${site}.hook_resid_mid`)
    update = taps.at(
      `${site}.hook_mlp_out`,
      ffn(spec, block.mlp, taps.at(`${site}.ln2.hook_normalized`, second), taps, site),
    )
    incoming = [`${site}.hook_resid_post`]
  })

  const last = `blocks.${spec.layers - 1}`
  if (input.at && taps.wantsAfterAttention(last)) {
    settle(...incoming)
    incoming = []
    narrow(input.at)
  }
  const final = taps.at('ln_final.hook_normalized', normed(params.lnFinal, ...incoming))
  const logits = params.head
    ? linear(final, params.head, spec.layout)
    : project(final, params.embed, 'out-in')
  return { logits: taps.at('logits', logits), ...(input.past && { cache }) }
}

/** x [batch, T, width] at one position a row: [batch, 1, width]. */
function rowsAt(x: Tensor, at: Tensor): Tensor {
  const [batch, time, width] = x.shape as [never, never, number]
  const rows = iota(batch).mul(size(time, 'i32')).add(at)
  return x.reshape([-1, width]).gather(rows).expandDims(1)
}
