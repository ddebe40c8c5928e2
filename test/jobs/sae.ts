/** A small SAE for tests: written as SAELens does. */
import { random, tensor, zeros } from '../../src/array/index.ts'
import { writeSaeLens } from '../../src/interp/sae/files/index.ts'

/** A random TopK SAE on the residual stream of models/tiny, in a folder, whose path it gives. */
export function sharedTopK(folder: string): string {
  const [dIn, dSae] = [128, 64]
  const gaussian = random.gaussian(1)
  const normal = (rows: number, columns: number) =>
    tensor(Float32Array.from({ length: rows * columns }, gaussian), [rows, columns])
  writeSaeLens(folder, {
    config: {
      ...{ architecture: 'topk', dIn, dOut: dIn, dSae, k: 8, site: 'blocks.1.hook_resid_post' },
      ...{ transcoder: false, subtractBias: true, normalize: 'none' },
    },
    params: { W_enc: normal(dIn, dSae), W_dec: normal(dSae, dIn), b_enc: zeros([dSae]), b_dec: zeros([dIn]) },
  })
  return folder
}
