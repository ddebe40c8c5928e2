/**
 * Features of which one path decides whether, the other how much (Rajamanoharan et al. 2024, "Improving Dictionary
 * Learning with Gated Sparse Autoencoders").
 *
 *   π_gate = (x − b_dec) W_enc + b_gate,   f = [π_gate > 0] · ReLU((x − b_dec) W_enc e^{r_mag} + b_mag)
 *   ‖x − x̂‖² + λ ‖ReLU(π_gate)‖₁ + ‖x − (ReLU(π_gate) W_dec + b_dec)‖²      W_dec and b_dec of the last fixed
 *
 * The penalty is on the gate alone, so what features are worth is not drawn towards 0. Unit-norm decoder.
 */
import * as z from 'zod'
import { zeros } from '../../../array/index.ts'
import { architecture, configOf, linear, meanSquare, rectified, warmUp } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { startParams } from '../start.ts'
import { biasOption, warmUpSteps } from './options.ts'

const options = z.strictObject({
  l1: z.number().nonnegative().default(1).describe('λ: weight of the penalty on the gates'),
  warmup: warmUpSteps,
  bias: biasOption,
})

export default architecture<z.output<typeof options>>({
  id: 'gated',
  title: 'Gates and magnitudes (Rajamanoharan et al. 2024)',
  options,
  unitNorm: () => true,
  init(sizes, { bias }, sample, seed) {
    if (sizes.transcoder)
      throw new Error("gated: no file format has gated transcoders; take 'standard', 'topk' or 'jumprelu'")
    const { b_enc: _, ...params } = startParams(sizes, { seed, decoderNorm: 1, bias }, sample)
    return {
      ...params,
      b_gate: zeros([sizes.dSae]),
      r_mag: zeros([sizes.dSae]),
      b_mag: zeros([sizes.dSae]),
    }
  },
  loss(given, { x, y }, { options: { l1, warmup }, sizes, step, steps }) {
    const params = given as unknown as SaeParams
    const batch = y.shape[0] as number
    const shared = linear(given, x, sizes)
    const { features: gate, active } = rectified(shared.add(params.b_gate!))
    const magnitude = shared.mul(params.r_mag!.exp()).add(params.b_mag!)
    const large = magnitude.greater(0).cast('f32').mul(active)
    const error = large.mul(magnitude).matmul(params.W_dec).add(params.b_dec).sub(y)
    const penalty = gate.sum().mul(1 / batch)
    const byGate = gate.matmul(params.W_dec.stopGradient()).add(params.b_dec.stopGradient()).sub(y)
    const weight = warmUp(step, Math.round(warmup * steps))
    const auxiliary = meanSquare(byGate)
    return {
      loss: meanSquare(error).add(penalty.mul(weight).mul(l1)).add(auxiliary),
      error,
      counts: large.sum(0),
      metrics: { l1: penalty, auxiliary },
    }
  },
  finish: (params, _, sizes) => ({
    config: configOf(sizes, 'gated'),
    params: params as unknown as SaeParams,
  }),
})
