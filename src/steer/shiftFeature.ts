/**
 * One feature of a sparse autoencoder, more of it everywhere, or held at a value:
 *
 *   add     f'_i = f_i + strength                       x' = x + strength · W_dec[i], where inputs are not normalised
 *   clamp   f'_i = f_i + strength · (clamp − f_i)       strength 1 holds it, 0.5 goes half of the way
 *
 * As in Templeton et al. 2024 (https://transformer-circuits.pub/2024/scaling-monosemanticity), who clamp to a multiple of
 * the largest activation and keep what the SAE does not reconstruct, and Neuronpedia, which adds.
 */
import { type Tensor, tensor } from '../array/index.ts'
import type { Sae } from '../interp/sae/sae.ts'
import type { Edits } from '../model/index.ts'
import { type ErrorMode, saeEdit } from './saeEdit.ts'
import { strengthOf } from './steer.ts'

export interface FeatureShift {
  /** 1 for the feature, 0 elsewhere; f32 [d_sae]. */
  readonly chosen: Tensor
  /** A scalar. */
  readonly strength: Tensor
  /** A scalar; there where the feature is held. */
  readonly clamp?: Tensor | undefined
}

const shift = (features: Tensor, { chosen, strength, clamp }: FeatureShift): Tensor => {
  const much = chosen.mul(strength)
  return features.add(clamp ? features.neg().add(clamp).mul(much) : much)
}

export interface ShiftOptions {
  readonly feature: number
  /** In units of the feature, or with `clamp` the share of the way; 0 makes no edits. */
  readonly strength: number
  readonly clamp?: number | undefined
  readonly error?: ErrorMode
}

/** The edits that move a feature at the SAE's site. */
export function shiftFeature(sae: Sae, { feature, strength, clamp, error = 'keep' }: ShiftOptions): Edits {
  const { dSae } = sae.config
  if (!Number.isInteger(feature) || feature < 0 || feature >= dSae)
    throw new RangeError(`feature ${feature}: the SAE has features 0 to ${dSae - 1}`)
  if (strength === 0) return {}
  const chosen = new Float32Array(dSae)
  chosen[feature] = 1
  const own: FeatureShift = {
    chosen: tensor(chosen),
    strength: strengthOf(strength),
    ...(clamp !== undefined && { clamp: strengthOf(clamp) }),
  }
  return saeEdit(sae, shift, own, error)
}
