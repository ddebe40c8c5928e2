/**
 * Encoders of the BERT kind (Devlin et al. 2019): every token sees every other, and each part is followed by a
 * norm of the sum.
 */
import { scalar, type Tensor } from '../array/index.ts'
import type { EncoderParams, EncoderSpec } from './encoderSpec.ts'
import { attend, splitHeads } from './parts/attention.ts'
import { activate, linear, norm } from './parts/linear.ts'
import type { Linear, NormSpec } from './spec.ts'
import type { Taps } from './taps.ts'

export interface EncoderInput {
  /** i32 [batch, T] */
  readonly tokens: Tensor
  /** i32 [batch, T]: 1 for tokens, 0 for padding. */
  readonly mask: Tensor
  /** i32 [batch, T] */
  readonly segments: Tensor
}

const blockSites = {
  hook_resid_pre: 'batch T width',
  'attn.hook_q': 'batch T H D',
  'attn.hook_k': 'batch T H D',
  'attn.hook_v': 'batch T H D',
  'attn.hook_attn_scores': 'batch H T T',
  'attn.hook_pattern': 'batch H T T',
  'attn.hook_z': 'batch T H D',
  hook_attn_out: 'batch T width',
  hook_resid_mid: 'batch T width',
  'ln1.hook_normalized': 'batch T width',
  'mlp.hook_pre': 'batch T hidden',
  'mlp.hook_post': 'batch T hidden',
  hook_mlp_out: 'batch T width',
  hook_resid_post: 'batch T width',
} as const

/**
 * Every site of an encoder with its shape legend. `hook_resid_post` is after the block's last norm; `sentence.mean`
 * and `sentence.first` are the last hidden states of all tokens that are no padding, on average, and of the first.
 */
export function encoderSites(spec: EncoderSpec, params: EncoderParams): Map<string, string> {
  const map = new Map<string, string>([['hook_embed', 'batch T width']])
  for (let layer = 0; layer < spec.layers; layer++)
    for (const [site, legend] of Object.entries(blockSites)) map.set(`blocks.${layer}.${site}`, legend)
  map.set('last_hidden_state', 'batch T width')
  map.set('sentence.mean', 'batch width')
  map.set('sentence.first', 'batch width')
  if (params.pooler) map.set('pooled', 'batch width')
  if (params.head) map.set('logits', 'batch T vocab')
  return map
}

/** Passes tokens through the encoder; what comes out is read at its sites. */
export function encodeForward(
  spec: EncoderSpec,
  params: EncoderParams,
  input: EncoderInput,
  taps: Taps,
): void {
  const layerNorm: NormSpec = { kind: 'layer', epsilon: spec.epsilon }
  const headSize = spec.width / spec.heads
  const dense = (x: Tensor, part: Linear): Tensor => linear(x, part, 'out-in')
  const hidden = input.mask.equal(0).expandDims(1).expandDims(1)
  const mask = hidden.where(scalar(Number.NEGATIVE_INFINITY), 0)

  let embedded = params.embed.gather(input.tokens).add(params.positions.gather(positionsOf(spec, input)))
  if (params.segments) embedded = embedded.add(params.segments.gather(input.segments))
  embedded = norm(embedded, params.lnEmbed, layerNorm)
  let x = taps.at('hook_embed', params.project ? dense(embedded, params.project) : embedded)

  params.blocks.forEach((block, layer) => {
    const tap = (name: string, value: Tensor): Tensor => taps.at(`blocks.${layer}.${name}`, value)
    x = tap('hook_resid_pre', x)
    const heads = (part: Linear, name: string): Tensor =>
      tap(`attn.${name}`, splitHeads(dense(x, part), spec.heads, headSize))
    const [q, k, v] = [
      heads(block.attn.q, 'hook_q'),
      heads(block.attn.k, 'hook_k').transpose([0, 2, 1, 3]),
      heads(block.attn.v, 'hook_v').transpose([0, 2, 1, 3]),
    ]
    const z = attend(q, k, v, mask, { scale: 1 / Math.sqrt(headSize) }, (name, value) =>
      tap(`attn.${name}`, value),
    )
    const mixed = dense(tap('attn.hook_z', z).reshape(x.shape), block.attn.o)
    const mid = tap('hook_resid_mid', x.add(tap('hook_attn_out', mixed)))
    const first = tap('ln1.hook_normalized', norm(mid, block.ln1, layerNorm))
    const pre = tap('mlp.hook_pre', dense(first, block.mlp.up))
    const post = tap('mlp.hook_post', activate(pre, spec.activation))
    const written = tap('hook_mlp_out', dense(post, block.mlp.down))
    x = tap('hook_resid_post', norm(first.add(written), block.ln2, layerNorm))
  })
  x = taps.at('last_hidden_state', x)
  const first = (): Tensor => x.slice(1, 0, 1).reshape([x.shape[0]!, spec.width])
  if (taps.wants('sentence.mean')) taps.at('sentence.mean', meanOfTokens(x, input.mask))
  if (taps.wants('sentence.first')) taps.at('sentence.first', first())
  if (params.pooler && taps.wants('pooled')) taps.at('pooled', dense(first(), params.pooler).tanh())
  if (params.head && taps.wants('logits')) {
    const { transform, norm: own, bias } = params.head
    const ready = norm(activate(dense(x, transform), spec.activation), own, layerNorm)
    taps.at('logits', dense(ready, { weight: params.embed, bias }))
  }
}

/** x [batch, T, width] on average over what the mask [batch, T] marks: [batch, width]. */
function meanOfTokens(x: Tensor, mask: Tensor): Tensor {
  const weight = mask.cast('f32').expandDims(-1)
  return x.mul(weight).sum(1).div(weight.sum(1))
}

/** Rows of the table of positions: 0, 1, 2 ..., or the count of tokens so far where padding does not count. */
function positionsOf({ firstPosition }: EncoderSpec, { mask }: EncoderInput): Tensor {
  if (firstPosition === undefined) return mask.mul(0).add(1).cumSum(1).sub(1)
  return mask
    .cumSum(1)
    .mul(mask)
    .add(firstPosition - 1)
}
