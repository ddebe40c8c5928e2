/**
 * ReLU features under an L1 penalty.
 *
 *   ‖x − x̂‖² + λ Σᵢ fᵢ ‖W_dec,ᵢ‖,   f = ReLU((x − b_dec) W_enc + b_enc)
 *
 * With `decoder: 'free'` decoder rows may have any norm (Anthropic, "Update on how we train SAEs", April 2024; SAELens'
 * standard): rows begin at norm 0.1. With `decoder: 'unit'` they stay at norm 1 (Bricken et al. 2023, "Towards
 * Monosemanticity"), without the resampling of dead features there. λ grows from 0 over the first steps.
 */
import * as z from 'zod'
import { architecture, configOf, linear, meanSquare, rectified, warmUp } from '../architecture.ts'
import { decoderNorms, type SaeParams } from '../sae.ts'
import { startParams } from '../start.ts'
import { biasOption, warmUpSteps } from './options.ts'

const options = z.strictObject({
  l1: z.number().nonnegative().default(5).describe('λ: weight of the penalty'),
  warmup: warmUpSteps,
  decoder: z.enum(['free', 'unit']).default('free').describe('Norms of decoder rows'),
  bias: biasOption,
})

export default architecture<z.output<typeof options>>({
  id: 'standard',
  title: 'ReLU and an L1 penalty (Bricken et al. 2023; Anthropic April 2024)',
  options,
  unitNorm: ({ decoder }) => decoder === 'unit',
  init: (sizes, { decoder, bias }, sample, seed) =>
    startParams(sizes, { seed, decoderNorm: decoder === 'unit' ? 1 : 0.1, bias }, sample),
  loss(given, { x, y }, { options: { l1, warmup }, sizes, step, steps }) {
    const params = given as unknown as SaeParams
    const batch = y.shape[0] as number
    const { features, active } = rectified(linear(given, x, sizes).add(params.b_enc!))
    const error = features.matmul(params.W_dec).add(params.b_dec).sub(y)
    const written = features.matmul(decoderNorms(params).expandDims(-1)).sum()
    const penalty = written.mul(1 / batch).mul(warmUp(step, Math.round(warmup * steps)))
    return {
      loss: meanSquare(error).add(penalty.mul(l1)),
      error,
      counts: active.sum(0),
      metrics: { l1: written.mul(1 / batch) },
    }
  },
  finish: (params, _, sizes) => ({
    config: configOf(sizes, 'standard'),
    params: params as unknown as SaeParams,
  }),
})
