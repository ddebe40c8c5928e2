/**
 * LF-Steering: features in which consistent inputs differ from inconsistent ones get a bias where they are active.
 *
 *   layer     the one from whose states a linear probe best tells consistent inputs from inconsistent ones
 *   bias      d_i = mean f_i (consistent) − mean f_i (inconsistent), for the n features with the largest |d_i|, else 0
 *   steer     f'_i = max(0, f_i + α d_i) where f_i > 0, else 0,   h' = h + decode(f') − decode(f)
 *
 * h: blocks.L.hook_resid_post [batch, T, width], every position; f [batch, T, d_sae] of a TopK SAE; α is `strength`. An
 * input is consistent where the model answers it as it answers most of its paraphrases.
 *
 * Yang et al. 2025, https://arxiv.org/abs/2501.11036. Layer by locating accuracy, TopK SAE, contrast of latent features,
 * bias on activated features with strength α are the paper's. We found neither its code nor its number of features, nor how
 * it treats the SAE's error: n is an option, features stay above 0, and the error is kept unless `error` is `drop`.
 */
import { type Tensor, tensor } from '../array/index.ts'
import type { Sae } from '../interp/sae/sae.ts'
import type { Edits } from '../model/index.ts'
import { type ErrorMode, saeEdit } from './saeEdit.ts'
import { strengthOf } from './steer.ts'

interface Biased {
  /** [d_sae] */
  readonly bias: Tensor
  /** A scalar. */
  readonly strength: Tensor
}

const biasActive = (features: Tensor, { bias, strength }: Biased): Tensor =>
  features.add(bias.mul(strength)).maximum(0).mul(features.greater(0).cast(features.dtype))

/**
 * The bias of the `count` features with the largest contrast, from the mean codes of both kinds (`meanCode`, at the last
 * token of each input), [d_sae] each.
 */
export function contrastBias(
  consistent: ArrayLike<number>,
  inconsistent: ArrayLike<number>,
  count: number,
): Tensor {
  const dSae = consistent.length
  if (inconsistent.length !== dSae)
    throw new Error(`codes of ${dSae} and of ${inconsistent.length} features are not of one SAE`)
  if (!Number.isInteger(count) || count < 1 || count > dSae)
    throw new RangeError(`${count} features: the SAE has ${dSae}`)
  const difference = Float32Array.from(consistent, (x, i) => x - inconsistent[i]!)
  const order = Array.from(difference.keys()).sort(
    (a, b) => Math.abs(difference[b]!) - Math.abs(difference[a]!) || a - b,
  )
  const kept = new Set(order.slice(0, count))
  return tensor(difference.map((x, i) => (kept.has(i) ? x : 0)))
}

export interface LfOptions {
  /** α; 0 makes no edits. */
  readonly strength: number
  readonly error?: ErrorMode
}

/** The edits that add the bias to active features at the SAE's site. */
export function lfEdits(sae: Sae, bias: Tensor, { strength, error = 'keep' }: LfOptions): Edits {
  if (bias.sizes.length !== 1 || bias.sizes[0] !== sae.config.dSae)
    throw new Error(`the bias is ${bias}, the SAE has ${sae.config.dSae} features`)
  if (strength === 0) return {}
  return saeEdit(sae, biasActive, { bias, strength: strengthOf(strength) }, error)
}
