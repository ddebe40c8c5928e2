/**
 * Sparse conditioned autoencoders: feature 0 is told what it has to mean (Härle et al. 2024, "SCAR",
 * https://arxiv.org/abs/2411.07122).
 *
 *   n = (x − mean x) / (std x + 1e-5),   a = (n − b_dec) W_enc + b_enc,   f = ReLU(TopK(a))
 *   x̂ = (f W_dec + b_dec) · std x + mean x
 *   loss = mean of ‖x − x̂‖² / ‖x‖² + w · BCE(sigmoid(a_0), label)
 *
 * over the rows of a batch, labels 0 to 1. From the authors' code: the norm (an unbiased deviation), the condition on a_0
 * before TopK, the weight 1, and the encoder begun as the decoder's transpose. There TopK keeps 2048 of 24,576 features,
 * Adam learns at 1e-5 with gradients clipped at norm 1, and the gradient of positive rows can be scaled (`positive`).
 * What differs: decoder rows stay of norm 1, as in our other TopK SAEs, so that a feature has one size. `condition: 0` is
 * the same SAE without a condition.
 */
import * as z from 'zod'
import { softplus } from '../../../array/index.ts'
import { architecture, configOf, linear } from '../architecture.ts'
import { normalized, type SaeConfig, type SaeParams } from '../sae.ts'
import { activeCounts, sparseProduct } from '../sparse.ts'
import { type SaeSizes, startParams } from '../start.ts'
import { kOption } from './options.ts'

const options = z.strictObject({
  k: kOption,
  condition: z.number().nonnegative().default(1).describe('Weight of the condition on feature 0'),
  positive: z.number().positive().default(1).describe('Weight of rows in the condition that have the label'),
})

const configFor = (sizes: SaeSizes, k: number): SaeConfig =>
  configOf(sizes, 'topk', { k, rescaleByDecoderNorm: false, normalize: 'layer_norm' })

export default architecture<z.output<typeof options>>({
  id: 'scar',
  title: 'TopK with a condition on feature 0 (Härle et al. 2024)',
  options,
  unitNorm: () => true,
  init: (sizes, _, sample, seed) => startParams(sizes, { seed, decoderNorm: 1, bias: 'zero' }, sample),
  loss(given, { x, labels }, { options: { k, condition, positive }, sizes }) {
    if (sizes.transcoder) throw new Error('scar: a transcoder cannot be conditioned')
    if (!labels) throw new Error('scar: the rows have no labels, which its condition needs')
    const params = given as unknown as SaeParams
    const { input, back } = normalized({ config: configFor(sizes, k) }, x)
    const before = linear(given, input, sizes).add(params.b_enc!)
    const { values, indices } = before.topK(k)
    const features = values.maximum(0)
    const error = back(sparseProduct(features, indices, params.W_dec).add(params.b_dec)).sub(x)
    const main = error.mul(error).sum(1).div(x.mul(x).sum(1)).mean()
    const logit = before.slice(1, 0, 1).reshape(labels.shape)
    const weights = labels
      .greater(0)
      .cast(labels.dtype)
      .mul(positive - 1)
      .add(1)
    const told = softplus(logit).sub(labels.mul(logit)).mul(weights).mean()
    return {
      loss: main.add(told.mul(condition)),
      error,
      counts: activeCounts(features, indices, sizes.dSae),
      metrics: { condition: told },
    }
  },
  finish: (params, _, sizes, { k }) => ({
    config: configFor(sizes, k),
    params: params as unknown as SaeParams,
  }),
})
