/**
 * SCAR: one feature of a sparse autoencoder is told what it has to mean, is read to detect it, and scaled to steer.
 *
 *   detect   a_0 = ((n(x) − b_dec) W_enc + b_enc)_0      a logit, before TopK
 *   steer    f'_0 = α f_0,   α = 1 + strength,   x' = x + decode(f') − decode(f)
 *
 * x: blocks.L.hook_mlp_out [batch, T, width], what the feed-forward part adds to the stream; n a layer norm. α 1 is
 * neutral, 0 takes the concept away, negative ones turn it round; the paper goes to ±100.
 *
 * Härle et al. 2024, https://arxiv.org/abs/2411.07122, and their code. How the SAE is trained is the architecture `scar`.
 * What differs: they write decode(f') and lose what the SAE does not reconstruct (`error=drop`); here it is kept, so that
 * only the concept changes. As in their code a feature that TopK has left out stays 0 under any α.
 */
import { type Tensor, tensor } from '../array/index.ts'
import type { Sae } from '../interp/sae/sae.ts'
import type { Edits } from '../model/index.ts'
import { type ErrorMode, saeEdit } from './saeEdit.ts'
import { strengthOf } from './steer.ts'

interface Scaled {
  /** 1 for the feature, 0 elsewhere; f32 [d_sae]. */
  readonly chosen: Tensor
  /** α − 1, a scalar. */
  readonly strength: Tensor
}

const scaleFeature = (features: Tensor, { chosen, strength }: Scaled): Tensor =>
  features.add(features.mul(chosen.mul(strength)))

export interface ScarOptions {
  /** α − 1; 0 makes no edits. */
  readonly strength: number
  /** Another feature than the conditioned one, 0. */
  readonly feature?: number
  readonly error?: ErrorMode
}

/** The edits that scale a feature at the SAE's site. */
export function scarEdits(sae: Sae, { strength, feature = 0, error = 'keep' }: ScarOptions): Edits {
  const { dSae } = sae.config
  if (!Number.isInteger(feature) || feature < 0 || feature >= dSae)
    throw new RangeError(`feature ${feature}: the SAE has features 0 to ${dSae - 1}`)
  if (strength === 0) return {}
  const chosen = new Float32Array(dSae)
  chosen[feature] = 1
  return saeEdit(sae, scaleFeature, { chosen: tensor(chosen), strength: strengthOf(strength) }, error)
}
