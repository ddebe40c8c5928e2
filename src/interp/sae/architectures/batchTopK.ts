/**
 * The k · batch largest features of a whole batch, so that hard rows get more of them (Bussmann et al. 2024, "BatchTopK
 * Sparse Autoencoders").
 *
 * For single rows there is a threshold instead: a running mean of the least feature that was kept in each batch, as in
 * SAELens (rate 0.01), which begins at the first batch's. Trained SAEs are jumprelu with that threshold, as SAELens
 * saves them. Loss, decoder and beginning are those of TopK.
 */
import * as z from 'zod'
import { tensor, zeros } from '../../../array/index.ts'
import { architecture, configOf, linear } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { startParams } from '../start.ts'
import { auxiliaryLoss } from './auxiliary.ts'
import { auxiliaryOptions, biasOption, kOption } from './options.ts'
import { unexplained } from './unexplained.ts'

const options = z.strictObject({
  k: kOption.describe('Active features of a row on average'),
  ...auxiliaryOptions,
  bias: biasOption,
  thresholdRate: z.number().positive().max(1).default(0.01).describe('How fast the threshold follows'),
})

export default architecture<z.output<typeof options>>({
  id: 'batchtopk',
  title: 'The k · batch largest features of a batch (Bussmann et al. 2024)',
  options,
  unitNorm: () => true,
  init: (sizes, { bias }, sample, seed) => startParams(sizes, { seed, decoderNorm: 1, bias }, sample),
  memory: () => ({ threshold: zeros([]) }),
  loss(given, { x, y }, { options: chosen, sizes, step, memory, dead, age }) {
    const params = given as unknown as SaeParams
    const [batch, n] = [y.shape[0] as number, sizes.dSae]
    const before = linear(given, x, sizes).add(params.b_enc!)
    const { values, indices } = before.reshape([batch * n]).topK(Math.min(chosen.k, n) * batch)
    const kept = values.maximum(0)
    const features = kept
      .zero()
      .broadcastTo([batch * n])
      .scatterElements(indices, kept, 0, 'set')
      .reshape([batch, n])
    const error = features.matmul(params.W_dec).add(params.b_dec).sub(y)
    const active = kept.greater(0)
    const counts = kept.zero().broadcastTo([n]).scatterElements(indices.mod(n), active.cast('f32'), 0, 'add')
    const least = active.where(kept, 1e30).min().stopGradient()
    const followed = memory.threshold!.mul(1 - chosen.thresholdRate).add(least.mul(chosen.thresholdRate))
    const threshold = step.equal(0).where(least, followed)
    const main = unexplained(error, y)
    const auxiliary =
      chosen.auxiliary === 0
        ? undefined
        : auxiliaryLoss(given, { x }, error, { dead: dead(counts), age: age(counts) }, sizes, chosen)
    return {
      loss: auxiliary ? main.add(auxiliary.mul(chosen.auxiliary)) : main,
      error,
      counts,
      metrics: { threshold, ...(auxiliary && { auxiliary }) },
      memory: { threshold },
    }
  },
  finish: (params, memory, sizes) => ({
    config: configOf(sizes, 'jumprelu'),
    params: {
      ...(params as unknown as SaeParams),
      threshold: tensor(new Float32Array(sizes.dSae).fill(memory.threshold!.item())),
    },
  }),
})
