/**
 * AuxK (Gao et al. 2024, appendix A.2): dead features model what the others leave, so that they come to life.
 *
 *   e = y − ŷ (no gradient),   ê = the k_aux largest dead pre-activations, ReLU, times W_dec
 *   ‖ê − e‖² / ‖e − ē‖²        over the batch
 *
 * The paper considers all dead features. Here a step considers the `candidates` that have been dead for longest: the
 * products then are a tenth as large, and where no more are dead, the loss is the paper's. Without dead features it is 0.
 */
import type { Tensor } from '../../../array/index.ts'
import type { SaeBatch, TrainedParams } from '../architecture.ts'
import type { SaeParams } from '../sae.ts'
import { densified } from '../sparse.ts'
import type { SaeSizes } from '../start.ts'

export interface AuxiliaryOptions {
  readonly auxiliaryK?: number | undefined
  readonly candidates: number
}

/** The power of two next to half the width of what is modelled. */
export const defaultAuxiliaryK = (width: number): number => 2 ** Math.round(Math.log2(Math.max(2, width / 2)))

const outOfReach = -1e30

/** A scalar. `age` f32 [d_sae]: tokens since each feature was active; `dead` bool [d_sae]. */
export function auxiliaryLoss(
  given: TrainedParams,
  { x }: Pick<SaeBatch, 'x'>,
  error: Tensor,
  { dead, age }: { readonly dead: Tensor; readonly age: Tensor },
  { dSae, dOut, transcoder }: SaeSizes,
  options: AuxiliaryOptions,
): Tensor {
  const { W_enc, W_dec, b_enc, b_dec } = given as unknown as SaeParams
  const count = Math.min(options.candidates, dSae)
  const k = Math.min(options.auxiliaryK ?? defaultAuxiliaryK(dOut), count)
  const all = count === dSae
  const { indices } = age.topK(count)
  const of = (tensor: Tensor, axis: number): Tensor => (all ? tensor : tensor.gather(indices, axis))
  const before = (transcoder ? x : x.sub(b_dec)).matmul(of(W_enc, 1)).add(of(b_enc!, 0))
  const { values, indices: chosen } = of(dead, 0).where(before, outOfReach).topK(k)
  const modelled = densified(values.maximum(0), chosen, count).matmul(of(W_dec, 0))
  const residual = error.neg().stopGradient()
  const centred = residual.sub(residual.mean(0, { keep: true }))
  const difference = modelled.sub(residual)
  const share = difference.mul(difference).sum().div(centred.mul(centred).sum().add(1e-12))
  return dead.cast('f32').max().mul(share)
}
