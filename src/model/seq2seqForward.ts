/**
 * Encoder-decoders of the T5 kind (Raffel et al. 2020): biases by distance instead of positions, scores that are
 * not scaled, norms before each part.
 */
import { type Dim, iota, scalar, type Tensor, tensor } from '../array/index.ts'
import { attend, splitHeads, visibility } from './parts/attention.ts'
import { activate, linear, norm } from './parts/linear.ts'
import type { Seq2SeqParams, Seq2SeqSpec, StackParams } from './seq2seqSpec.ts'
import type { Linear, Norm } from './spec.ts'
import type { Taps } from './taps.ts'

type Side = 'encoder' | 'decoder'

export interface Seq2SeqInput {
  /** i32 [batch, S] */
  readonly tokens: Tensor
  /** i32 [batch, S]: 1 for tokens, 0 for padding. */
  readonly mask: Tensor
  /** i32 [batch, T], beginning with the start token. */
  readonly targets: Tensor
}

const partSites = {
  hook_resid_pre: 'batch T width',
  'attn.hook_pattern': 'batch H T T',
  'attn.hook_z': 'batch T H D',
  hook_attn_out: 'batch T width',
  'cross.hook_pattern': 'batch H T S',
  'cross.hook_z': 'batch T H D',
  hook_cross_out: 'batch T width',
  'mlp.hook_post': 'batch T hidden',
  hook_mlp_out: 'batch T width',
  hook_resid_post: 'batch T width',
} as const

/** Every site with its shape legend: `encoder.blocks.0.hook_resid_pre`, `decoder.blocks.0.cross.hook_pattern` ... */
export function seq2seqSites(spec: Seq2SeqSpec): Map<string, string> {
  const map = new Map<string, string>()
  for (const side of ['encoder', 'decoder'] as const) {
    map.set(`${side}.hook_embed`, 'batch T width')
    for (let layer = 0; layer < spec.layers[side]; layer++)
      for (const [site, legend] of Object.entries(partSites))
        if (side === 'decoder' || !site.includes('cross')) map.set(`${side}.blocks.${layer}.${site}`, legend)
    map.set(`${side}.last_hidden_state`, 'batch T width')
  }
  map.set('logits', 'batch T vocab')
  return map
}

/** Encoder and decoder over whole sequences: logits [batch, T, vocab]. */
export function seq2seqForward(
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  { tokens, mask, targets }: Seq2SeqInput,
  taps: Taps,
): Tensor {
  const memory = encodeSource(spec, params, { tokens, mask }, taps)
  return decodeTarget(spec, params, { memory, mask, targets }, taps)
}

/** 0 for tokens and -inf for padding, to be added to scores: [batch, 1, 1, S]. */
const hiding = (mask: Tensor): Tensor =>
  mask.equal(0).expandDims(1).expandDims(1).where(scalar(Number.NEGATIVE_INFINITY), 0)

export type Source = Pick<Seq2SeqInput, 'tokens' | 'mask'>
/** What the encoder says of a source: [batch, S, width]. */
export const encodeSource = (
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  { tokens, mask }: Source,
  taps: Taps,
): Tensor => stack(spec, params, 'encoder', tokens, hiding(mask), undefined, taps)

export interface TargetInput {
  /** [batch, S, width], of `Seq2Seq.encode`. */
  readonly memory: Tensor
  /** i32 [batch, S]: 1 for tokens of the source, 0 for padding. */
  readonly mask: Tensor
  /** i32 [batch, T], beginning with the start token. */
  readonly targets: Tensor
}

/** Logits [batch, T, vocab] of the token after each one of the targets; of the last alone [batch, 1, vocab]. */
export function decodeTarget(
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  { memory, mask, targets }: TargetInput,
  taps: Taps,
  lastOnly = false,
): Tensor {
  const time = targets.shape[1]!
  const source = { memory, hidden: hiding(mask) }
  const all = stack(spec, params, 'decoder', targets, visibility(iota(time), time, undefined), source, taps)
  const out = lastOnly ? all.slice(1, -1) : all
  const scaled = spec.outputScale === 1 ? out : out.mul(spec.outputScale)
  return taps.at('logits', linear(scaled, params.head ?? { weight: params.embed }, 'out-in'))
}

function stack(
  spec: Seq2SeqSpec,
  params: Seq2SeqParams,
  side: Side,
  tokens: Tensor,
  mask: Tensor,
  source: { readonly memory: Tensor; readonly hidden: Tensor } | undefined,
  taps: Taps,
): Tensor {
  const { blocks, bias, lnFinal }: StackParams = params[side]
  const { heads, headSize } = spec
  const rms = (value: Tensor, own: Norm): Tensor => norm(value, own, { kind: 'rms', epsilon: spec.epsilon })
  const dense = (value: Tensor, part: Linear): Tensor => linear(value, part, 'out-in')
  let x = taps.at(`${side}.hook_embed`, params.embed.gather(tokens))
  const time = tokens.shape[1]!
  const scores = distanceBias(spec, bias, time, side === 'encoder').add(mask)

  blocks.forEach((block, layer) => {
    const tap = (name: string, value: Tensor): Tensor => taps.at(`${side}.blocks.${layer}.${name}`, value)
    const mix = (
      name: 'attn' | 'cross',
      { q, k, v, o }: typeof block.attn,
      from: Tensor,
      memory: Tensor,
      added: Tensor,
    ): Tensor => {
      const split = (value: Tensor): Tensor => splitHeads(value, heads, headSize)
      const [keys, values] = [k, v].map((part) => split(dense(memory, part)).transpose([0, 2, 1, 3]))
      const z = attend(split(dense(from, q)), keys!, values!, added, { scale: 1 }, (site, value) =>
        site === 'hook_pattern' ? tap(`${name}.${site}`, value) : value,
      )
      return dense(tap(`${name}.hook_z`, z).reshape([...from.shape.slice(0, -1), heads * headSize]), o)
    }
    x = tap('hook_resid_pre', x)
    const first = rms(x, block.ln1)
    x = x.add(tap('hook_attn_out', mix('attn', block.attn, first, first, scores)))
    if (source) {
      const crossed = mix('cross', block.cross!, rms(x, block.lnCross!), source.memory, source.hidden)
      x = x.add(tap('hook_cross_out', crossed))
    }
    const ready = rms(x, block.ln2)
    const { gate, up, down } = block.mlp
    const inner = gate
      ? activate(dense(ready, gate), spec.activation).mul(dense(ready, up))
      : activate(dense(ready, up), spec.activation)
    x = tap('hook_resid_post', x.add(tap('hook_mlp_out', dense(tap('mlp.hook_post', inner), down))))
  })
  return taps.at(`${side}.last_hidden_state`, rms(x, lnFinal))
}

/** Bias of each head by the distance from query to key: [heads, T, T]. */
function distanceBias(spec: Seq2SeqSpec, table: Tensor, time: Dim, both: boolean): Tensor {
  const { distance } = spec
  const buckets = Int32Array.from({ length: 2 * distance + 1 }, (_, i) => bucketOf(spec, i - distance, both))
  // Beyond the greatest distance the bucket stays the same.
  const offset = iota(time).sub(iota(time).expandDims(-1)).maximum(-distance).minimum(distance)
  return table.gather(tensor(buckets).gather(offset.add(distance))).transpose([2, 0, 1])
}

/** The bucket of a distance (key minus query): half of them exact, the others ever wider. */
function bucketOf({ buckets, distance }: Seq2SeqSpec, offset: number, both: boolean): number {
  const count = both ? buckets / 2 : buckets
  const base = both && offset > 0 ? count : 0
  const far = both ? Math.abs(offset) : Math.max(0, -offset)
  const exact = count / 2
  if (far < exact) return base + far
  // In f32, as Hugging Face computes it: at powers of two the last digit decides.
  const f = Math.fround
  const share = f(f(Math.log(f(far / exact))) / f(Math.log(distance / exact)))
  return base + Math.min(count - 1, exact + Math.trunc(f(share * (count - exact))))
}
