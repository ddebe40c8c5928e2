/** Selective state spaces: the mixer of Mamba (Gu and Dao 2023). */
import { scan, silu, softplus, type Tensor } from '../../array/index.ts'
import type { StateCache } from '../cache.ts'
import { type DecoderSpec, partOf, type StateSpaceParams } from '../spec.ts'
import type { Taps } from '../taps.ts'
import { causalConvolution, lastInputs, withPast } from './convolution.ts'
import { activate, linear } from './linear.ts'

/** Where the tokens of this pass end. */
export interface StatePlace {
  /** i32 [batch]: each row's last token; what follows is padding, which must leave no trace. All of them if absent. */
  readonly last?: Tensor | undefined
  /** bool [batch, T, 1], with `last`: whether a token is one of the row's own. */
  readonly own?: Tensor | undefined
}

/**
 * For each channel u of `inner`, a state h of `state` numbers:
 *
 *     h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t        y_t = C_t h_t + D u_t        out = W (y ⊙ silu(gate))
 *
 * where u is a causal convolution of half of the input's projection, its other half is the gate, A = -exp(logDecay),
 * and Δ = softplus(step), B and C are projections of u. x [batch, T, width] (normalised) -> [batch, T, width], and
 * the layer's state after the tokens.
 */
export function stateSpace(
  spec: DecoderSpec,
  params: StateSpaceParams,
  x: Tensor,
  place: StatePlace,
  cache: StateCache | undefined,
  taps: Taps,
  layer: number,
): { out: Tensor; cache?: StateCache } {
  const { inner, state, kernel, rank, activation } = partOf(spec, 'stateSpace')
  const { layout } = spec
  const tap = (name: string, value: Tensor): Tensor => taps.at(`blocks.${layer}.ssm.${name}`, value)
  const time = x.shape[1]!
  const [into, beside] = linear(x, params.input, layout).split(-1, [inner, inner])
  const gate = tap('hook_gate', beside!)

  const joined = withPast(tap('hook_x', into!), kernel, cache?.conv)
  const mixed = causalConvolution(joined, params.conv.weight, params.conv.bias, time)
  const u = tap('hook_u', activate(tap('hook_conv', mixed), activation))

  const [low, b, c] = linear(u, params.select, layout).split(-1, [rank, state, state])
  const delta = tap('hook_delta', softplus(linear(low!, params.step, layout)))
  const { outputs, last } = recur(
    // A step of 0 leaves the state as it is.
    place.own ? place.own.where(delta, 0) : delta,
    u,
    tap('hook_B', b!),
    tap('hook_C', c!),
    params.logDecay.exp().neg(),
    cache?.state,
    taps.wants(`blocks.${layer}.ssm.hook_h`) ? (states) => tap('hook_h', states) : undefined,
  )
  const y = tap('hook_y', outputs.add(u.mul(params.skip)))
  const out = linear(tap('hook_z', y.mul(silu(gate))), params.output, layout)
  return cache ? { out, cache: { conv: lastInputs(joined, kernel, place.last, time), state: last } } : { out }
}

/**
 * delta and u [batch, T, inner], b and c [batch, T, state], decay [inner, state]; y without D, [batch, T, inner], and
 * the last state. States are kept for one token at a time, unless a tap asks for all, [batch, T, inner, state].
 */
function recur(
  delta: Tensor,
  u: Tensor,
  b: Tensor,
  c: Tensor,
  decay: Tensor,
  start: Tensor | undefined,
  tap: ((states: Tensor) => Tensor) | undefined,
): { outputs: Tensor; last: Tensor } {
  const first = start ?? u.zero().broadcastTo([u.shape[0]!, ...decay.shape])
  // [T, batch, inner, 1] and [T, batch, 1, state]: the loop has nothing to do but to compute.
  const column = (x: Tensor): Tensor => x.transpose([1, 0, 2]).expandDims(-1)
  const row = (x: Tensor): Tensor => x.transpose([1, 0, 2]).expandDims(-2)
  const { state: last, ys } = scan(
    (h: Tensor, { delta, input, b, c }: Readonly<Record<'delta' | 'input' | 'b' | 'c', Tensor>>) => {
      const next = delta.mul(decay).exp().mul(h).add(input.mul(b))
      return [next, tap ? next : next.matmul(c)] as const
    },
    first,
    { delta: column(delta), input: column(delta.mul(u)), b: row(b), c: column(c) },
  )
  const outputs = tap ? tap(ys.transpose([1, 0, 2, 3])).matmul(c.expandDims(-1)) : ys.transpose([1, 0, 2, 3])
  return { outputs: outputs.reshape(u.shape), last }
}
