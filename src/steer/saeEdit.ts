/**
 * Edits through a sparse autoencoder: what is changed are features, what is written is the difference that it makes.
 *
 *   f = encode(x),   f' = change(f)
 *   error kept      x' = x + decode(f') − decode(f)
 *   error dropped   x' = decode(f')
 *
 * x [batch, T, width], or heads side by side; f [batch, T, d_sae]. With the error kept, an unchanged code leaves the
 * activation as it is, and what the SAE cannot say is not lost.
 */
import type { Tensor } from '../array/index.ts'
import { decode, encode, flattened, type Sae, type SaeConfig, type SaeParams } from '../interp/sae/sae.ts'
import type { Edits, EditWithArguments } from '../model/index.ts'

/** New features of features, [..., d_sae] each. Define it once: programs are kept by what it is. */
export type FeatureChange<Own> = (features: Tensor, own: Own) => Tensor

export const errorModes = ['keep', 'drop'] as const
/** What becomes of the part of an activation that the SAE does not reconstruct. */
export type ErrorMode = (typeof errorModes)[number]

interface SaeArguments<Own> {
  readonly params: SaeParams
  readonly own: Own
}
type Apply<Own> = (activation: Tensor, args: SaeArguments<Own>) => Tensor

// biome-ignore lint/suspicious/noExplicitAny: one table for all changes
const applies = new WeakMap<FeatureChange<any>, Map<string, Apply<any>>>()

/** One function for each change, shape of SAE and treatment of the error: programs are kept by its identity. */
function applyOf<Own>(change: FeatureChange<Own>, config: SaeConfig, error: ErrorMode): Apply<Own> {
  const { metadata: _, site: __, ...shape } = config
  const key = JSON.stringify([shape, error])
  const known = applies.get(change) ?? new Map<string, Apply<Own>>()
  applies.set(change, known)
  const made: Apply<Own> =
    known.get(key) ??
    ((activation, { params, own }) => {
      const sae = { config, params }
      const x = flattened(activation, config.dIn)
      const features = encode(sae, x)
      const written = decode(sae, change(features, own), x)
      const edited = error === 'drop' ? written : x.add(written.sub(decode(sae, features, x)))
      return edited.reshape(activation.shape)
    })
  known.set(key, made)
  return made
}

/** The edit at the SAE's site. Its parameters and `own` are arguments: another strength compiles nothing. */
export function saeEdit<Own>(
  sae: Sae,
  change: FeatureChange<Own>,
  own: Own,
  error: ErrorMode = 'keep',
): Edits {
  const { site, transcoder } = sae.config
  if (transcoder) throw new Error('a transcoder gives another site than it reads: steer with an autoencoder')
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  const edit: EditWithArguments<SaeArguments<Own>> = {
    apply: applyOf(change, sae.config, error),
    args: { params: sae.params, own },
  }
  return { [site]: edit }
}
