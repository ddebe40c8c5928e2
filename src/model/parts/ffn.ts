/** The feed-forward part of a block. */
import type { Tensor } from '../../array/index.ts'
import type { DecoderSpec, FfnParams } from '../spec.ts'
import type { Taps } from '../taps.ts'
import { activate, linear } from './linear.ts'

/** x [batch, T, width] -> [batch, T, width]. `site` is the block's prefix. */
export function ffn(spec: DecoderSpec, params: FfnParams, x: Tensor, taps: Taps, site: string): Tensor {
  const { layout } = spec
  const { activation, hidden } = spec.ffn
  const tap = (name: string, value: Tensor) => taps.at(`${site}.mlp.${name}`, value)
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
