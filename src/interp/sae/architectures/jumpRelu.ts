/**
 * Features above a threshold that is learned, under an L0 penalty (Rajamanoharan et al. 2024b, "Jumping Ahead").
 *
 *   ‖x − x̂‖² + λ Σᵢ [πᵢ > θᵢ],   f = π · [π > θ],   π = (x − b_dec) W_enc + b_enc
 *
 * Both steps have straight-through gradients in θ, which is kept above 0 as exp(log_threshold). Thresholds begin at
 * `threshold`, the kernel has width `bandwidth`; the values are for activations of mean norm √width, as in SAELens (the
 * paper's 0.001 are for a mean square of 1 in all).
 */
import * as z from 'zod'
import { type Tensor, tensor } from '../../../array/index.ts'
import { architecture, configOf, linear, meanSquare, warmUp } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { startParams } from '../start.ts'
import { jumpRelu } from '../straightThrough.ts'
import { biasOption, warmUpSteps } from './options.ts'

const options = z.strictObject({
  l0: z.number().nonnegative().default(1).describe('λ: weight of the number of active features'),
  warmup: warmUpSteps,
  threshold: z.number().positive().default(0.1).describe('Where thresholds begin'),
  bandwidth: z.number().positive().default(0.1).describe('ε: width of the kernel'),
  bias: biasOption,
})

export default architecture<z.output<typeof options>>({
  id: 'jumprelu',
  title: 'Learned thresholds and an L0 penalty (Rajamanoharan et al. 2024b)',
  options,
  unitNorm: () => true,
  init: (sizes, { threshold, bias }, sample, seed) => ({
    ...startParams(sizes, { seed, decoderNorm: 1, bias }, sample),
    log_threshold: tensor(new Float32Array(sizes.dSae).fill(Math.log(threshold))),
  }),
  loss(given, { x, y }, { options: { l0, warmup, bandwidth }, sizes, step, steps }) {
    const params = given as unknown as SaeParams & { readonly log_threshold: Tensor }
    const batch = y.shape[0] as number
    const before = linear(given, x, sizes).add(params.b_enc!)
    const { value, step: active } = jumpRelu(before, params.log_threshold.exp(), bandwidth)
    const error = value.matmul(params.W_dec).add(params.b_dec).sub(y)
    const counts = active.sum(0)
    const penalty = counts.sum().mul(1 / batch)
    const weight = warmUp(step, Math.round(warmup * steps))
    return { loss: meanSquare(error).add(penalty.mul(weight).mul(l0)), error, counts }
  },
  finish(given, _, sizes) {
    const { log_threshold, ...params } = given as unknown as SaeParams & { readonly log_threshold: Tensor }
    const threshold = tensor(Float32Array.from(log_threshold.data as Float32Array, Math.exp))
    return { config: configOf(sizes, 'jumprelu'), params: { ...params, threshold } }
  },
})
