/**
 * The k largest features of each row (Gao et al. 2024, "Scaling and evaluating sparse autoencoders").
 *
 *   f = ReLU(TopK((x − b_dec) W_enc + b_enc)),   ‖y − ŷ‖² / ‖y − ȳ‖² + 1/32 AuxK
 *
 * Unit-norm decoder, encoder begun as its transpose, b_dec at the geometric median. What differs: the paper divides by
 * the variance of a sample, here each batch by its own; neither moves Adam's steps much.
 */
import * as z from 'zod'
import { architecture, configOf, linear } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { activeCounts, sparseProduct } from '../sparse.ts'
import { startParams } from '../start.ts'
import { auxiliaryLoss } from './auxiliary.ts'
import { auxiliaryOptions, biasOption, kOption } from './options.ts'
import { unexplained } from './unexplained.ts'

const options = z.strictObject({ k: kOption, ...auxiliaryOptions, bias: biasOption })

export default architecture<z.output<typeof options>>({
  id: 'topk',
  title: 'The k largest features of a row, AuxK (Gao et al. 2024)',
  options,
  unitNorm: () => true,
  init: (sizes, { bias }, sample, seed) => startParams(sizes, { seed, decoderNorm: 1, bias }, sample),
  loss(given, { x, y }, { options: chosen, sizes, dead, age }) {
    const params = given as unknown as SaeParams
    const { values, indices } = linear(given, x, sizes).add(params.b_enc!).topK(chosen.k)
    const features = values.maximum(0)
    const error = sparseProduct(features, indices, params.W_dec).add(params.b_dec).sub(y)
    const counts = activeCounts(features, indices, sizes.dSae)
    const main = unexplained(error, y)
    if (chosen.auxiliary === 0) return { loss: main, error, counts }
    const auxiliary = auxiliaryLoss(
      given,
      { x },
      error,
      { dead: dead(counts), age: age(counts) },
      sizes,
      chosen,
    )
    return { loss: main.add(auxiliary.mul(chosen.auxiliary)), error, counts, metrics: { auxiliary } }
  },
  finish: (params, _, sizes, { k }) => ({
    config: configOf(sizes, 'topk', { k, rescaleByDecoderNorm: false }),
    params: params as unknown as SaeParams,
  }),
})
