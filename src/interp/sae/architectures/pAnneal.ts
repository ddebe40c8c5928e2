/**
 * ReLU features under an L_p penalty whose p falls from 1 (Karvonen et al. 2024, "Measuring Progress in Dictionary
 * Learning for Language Model Interpretability with Board Game Models", section 4).
 *
 *   ‖x − x̂‖² + λₛ Σᵢ fᵢᵖ⁽ˢ⁾,   p from 1 down to `p` in equal steps
 *
 * With p below 1 small features are punished more than large ones: it is closer to counting them. At each step of p, λ
 * is multiplied by the mean of Σ fᵖ over the last batches under the old p, divided by that under the new one, so that
 * the penalty as a whole stays as large as it was. Unit-norm decoder.
 */
import * as z from 'zod'
import { customGradient, type Tensor, tensor, zeros } from '../../../array/index.ts'
import { architecture, configOf, linear, meanSquare, rectified, warmUp } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { startParams } from '../start.ts'
import { biasOption, warmUpSteps } from './options.ts'

const options = z.strictObject({
  l1: z.number().positive().default(5).describe('λ at p = 1'),
  p: z.number().positive().max(1).default(0.2).describe('p at the end'),
  start: z.number().min(0).max(1).default(0.2).describe('Share of the steps before p begins to fall'),
  end: z.number().min(0).max(1).default(1).describe('Share of the steps after which p is at its end'),
  updates: z.int().min(2).default(10).describe('Values of p, the first and the last included'),
  queue: z.int().positive().default(10).describe('Batches over which the penalties are compared'),
  warmup: warmUpSteps,
  bias: biasOption,
})
type Options = z.output<typeof options>

/** How often p has fallen before a step, an f32 scalar: whole numbers up to `updates` − 1. */
function falls(step: Tensor, steps: number, { start, end, updates }: Options): Tensor {
  const from = Math.round(start * steps)
  const length = Math.max(1, Math.round(end * steps) - from)
  return step
    .sub(from)
    .mul((updates - 1) / length)
    .floor()
    .maximum(0)
    .minimum(updates - 1)
}

const pAfter = (fallen: Tensor, { p, updates }: Options): Tensor =>
  fallen
    .minimum(updates - 1)
    .mul((p - 1) / (updates - 1))
    .add(1)

/** Σ fᵖ over a batch and its features, where active; ∂/∂f = p fᵖ / f there, and 0 elsewhere. */
const powerSum = customGradient(
  'powerSum',
  (features, active, p) => {
    // 1 where inactive: its logarithm is 0, and the mask takes it out.
    const base = features!.add(active!.neg().add(1))
    const powers = base.log().mul(p!).exp().mul(active!)
    return [powers.sum(), powers, base]
  },
  ([g], { inputs: [, , p], outputs: [, powers, base] }) => [
    g && powers!.div(base!).mul(p!.mul(g)),
    undefined,
    undefined,
  ],
)

export default architecture<Options>({
  id: 'p-annealing',
  title: 'ReLU and an L_p penalty, p falling (Karvonen et al. 2024)',
  options,
  unitNorm: () => true,
  init: (sizes, { bias }, sample, seed) => startParams(sizes, { seed, decoderNorm: 1, bias }, sample),
  memory: (_, { queue }) => ({
    factor: tensor([1], []),
    now: zeros([queue]),
    next: zeros([queue]),
  }),
  loss(given, { x, y }, { options: chosen, sizes, step, steps, memory }) {
    const params = given as unknown as SaeParams
    const batch = y.shape[0] as number
    const { features, active } = rectified(linear(given, x, sizes).add(params.b_enc!))
    const error = features.matmul(params.W_dec).add(params.b_dec).sub(y)

    const fallen = falls(step, steps, chosen)
    const falling = falls(step.sub(1), steps, chosen).less(fallen)
    const ratio = memory.now!.sum().div(memory.next!.sum().maximum(1e-30))
    const factor = falling.where(memory.factor!.mul(ratio), memory.factor!)
    const penaltyAt = (p: Tensor): Tensor => powerSum(features, active, p)[0]!.mul(1 / batch)
    const p = pAfter(fallen, chosen)
    const penalty = penaltyAt(p)
    const nextPenalty = penaltyAt(pAfter(fallen.add(1), chosen)).stopGradient()
    const queued = (queue: Tensor, value: Tensor): Tensor =>
      queue.slice(0, 1).concat([value.stopGradient().reshape([1])], 0)
    const weight = factor.mul(chosen.l1).mul(warmUp(step, Math.round(chosen.warmup * steps)))
    return {
      loss: meanSquare(error).add(penalty.mul(weight)),
      error,
      counts: active.sum(0),
      metrics: { p, factor },
      memory: { factor, now: queued(memory.now!, penalty), next: queued(memory.next!, nextPenalty) },
    }
  },
  finish: (params, _, sizes) => ({
    config: configOf(sizes, 'standard'),
    params: params as unknown as SaeParams,
  }),
})
