// Written by scripts/generate-methods.mjs; do not edit.
import type { Method } from '../method/index.ts'

/** Every method, opened when it is asked for. */
export const methodFiles: Readonly<Record<string, () => Promise<Method>>> = {
  'backward-lens': async () => (await import('../interp/backwardLens.ts')).default as Method,
  classification: async () => (await import('../train/objectives/classification.ts')).default as Method,
  'control-vector': async () => (await import('../steer/controlVector.ts')).default as Method,
  'kneser-ney': async () => (await import('../ngram/kneserNey.ts')).default as Method,
  'lf-steering': async () => (await import('../steer/lfSteering.ts')).default as Method,
  'linear-shortcut': async () => (await import('../interp/linearShortcut.ts')).default as Method,
  'lm-steer': async () => (await import('../steer/lmSteer.ts')).default as Method,
  meap: async () => (await import('../train/objectives/meap.ts')).default as Method,
  neft: async () => (await import('../train/adapters/neft.ts')).default as Method,
  'ngram-transformer': async () => (await import('../ngram/ngramTransformer.ts')).default as Method,
  'patch-level': async () => (await import('../train/objectives/patchLevel.ts')).default as Method,
  'sae-steer': async () => (await import('../steer/saeSteer.ts')).default as Method,
  scar: async () => (await import('../steer/scar.ts')).default as Method,
  snm: async () => (await import('../ngram/snm.ts')).default as Method,
  'sparse-query': async () => (await import('../steer/sparseQuery.ts')).default as Method,
  'tuned-lens': async () => (await import('../interp/tunedLens.ts')).default as Method,
  'value-vectors': async () => (await import('../interp/valueVectors.ts')).default as Method,
  'wavelet-gpt': async () => (await import('../model/architectures/waveletGpt.ts')).default as Method,
}
