/** The feed-forward part of a block: one, or several of which a router chooses for each token. */
import { oneHot, softmax, type Tensor } from '../../array/index.ts'
import { type DecoderSpec, type DenseParams, type ExpertParams, type FfnParams, partOf } from '../spec.ts'
import type { Taps } from '../taps.ts'
import { activate, linear } from './linear.ts'

type Identity = (name: string, x: Tensor) => Tensor

/** x [batch, T, width] -> [batch, T, width]. `site` is the block's prefix. */
export function ffn(spec: DecoderSpec, params: FfnParams, x: Tensor, taps: Taps, site: string): Tensor {
  const tap: Identity = (name, value) => taps.at(`${site}.mlp.${name}`, value)
  return 'router' in params ? mixture(spec, params, x, tap) : dense(spec, params, x, tap)
}

function dense(spec: DecoderSpec, params: DenseParams, x: Tensor, tap: Identity): Tensor {
  const { layout } = spec
  const { activation, hidden } = partOf(spec, 'ffn')
  let post: Tensor
  if ('gateUp' in params || 'gate' in params) {
    const [gate, up] =
      'gateUp' in params
        ? linear(x, params.gateUp, layout).split(-1, [hidden, hidden])
        : [linear(x, params.gate, layout), linear(x, params.up, layout)]
    post = activate(tap('hook_pre', gate!), activation).mul(tap('hook_pre_linear', up!))
  } else post = activate(tap('hook_pre', linear(x, params.up, layout)), activation)
  return linear(tap('hook_post', post), params.down, layout)
}

/**
 * Σ over experts of weight times expert(x), where the weights of all but the `active` most likely are 0. Every
 * expert is computed for every token: exact and differentiable, at the cost of all of them.
 */
function mixture(spec: DecoderSpec, { router, experts }: ExpertParams, x: Tensor, tap: Identity): Tensor {
  const { active, normalized, count } = partOf(spec, 'ffn').experts!
  const shares = softmax(linear(x, router, spec.layout))
  const chosen = oneHot(shares.topK(active).indices, count).sum(-2)
  const kept = shares.mul(chosen)
  const weights = tap('hook_expert_weights', normalized ? kept.div(kept.sum(-1, { keep: true })) : kept)
  return experts
    .map((expert, i) => dense(spec, expert, x, (_, value) => value).mul(weights.slice(-1, i, i + 1)))
    .reduce((sum, part) => sum.add(part))
}
