/** SAEs in SAELens' folders: cfg.json, sae_weights.safetensors, sparsity.safetensors (log10 of densities). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tensor } from '../../../array/index.ts'
import { replaceFolder } from '../../../model/save.ts'
import { system, writeAtomic } from '../../../store/file.ts'
import { openSafetensors, writeSafetensors } from '../../../store/index.ts'
import { JsonReader } from '../../../store/json.ts'
import type { Sae } from '../sae.ts'
import { type Current, type ReadSae, saeLensFiles, saeLensOf } from './saeLensLayout.ts'
import { source } from './tensors.ts'

export { type ReadSae, saeLensFiles } from './saeLensLayout.ts'

/** Reads a folder. FileError, with file and reason, for what does not fit or is not known. */
export function readSaeLens(folder: string): ReadSae {
  const path = join(folder, saeLensFiles.config)
  const weightsPath = join(folder, saeLensFiles.weights)
  return saeLensOf(readJson(path), openSafetensors(weightsPath), { path, weightsPath })
}

function readJson(path: string): Record<string, unknown> {
  const reader = new JsonReader(
    path,
    0,
    system(path, 0, () => readFileSync(path)),
  )
  const record = reader.record()
  reader.end()
  return record
}

/** The layout that is written. */
const version = '6.0.0'

export interface SaeLensOptions {
  /** Share of tokens on which each feature is active. */
  readonly density?: ArrayLike<number> | undefined
  /** Of the weights; f32 by default. */
  readonly dtype?: 'f32' | 'f16'
}

/** Writes a folder, whole or not at all. */
export function writeSaeLens(
  folder: string,
  sae: Sae,
  { density, dtype = 'f32' }: SaeLensOptions = {},
): void {
  const { config, params } = sae
  const json: Current = {
    architecture: savedArchitecture(sae),
    d_in: config.dIn,
    d_sae: config.dSae,
    ...(config.transcoder && { d_out: config.dOut }),
    dtype: dtype === 'f16' ? 'float16' : 'float32',
    device: 'cpu',
    apply_b_dec_to_input: config.subtractBias,
    normalize_activations: config.normalize,
    reshape_activations: config.site?.endsWith('hook_z') ? 'hook_z' : 'none',
    ...(config.architecture === 'topk' && {
      k: config.k,
      rescale_acts_by_decoder_norm: config.rescaleByDecoderNorm ?? false,
    }),
    metadata: {
      ...config.metadata,
      sae_lens_version: version,
      hook_name: config.site ?? null,
      ...(config.transcoder && { hook_name_out: config.siteOut ?? null }),
      hook_head_index: null,
    },
  }
  replaceFolder(folder, (into) => {
    const leaves = Object.entries(params).filter((entry): entry is [string, Tensor] => entry[1] !== undefined)
    writeSafetensors(
      join(into, saeLensFiles.weights),
      leaves.map(([name, leaf]) => source(name, leaf, dtype)),
    )
    if (density) {
      const logs = Float32Array.from(density, (share) => Math.log10(share))
      writeSafetensors(join(into, saeLensFiles.sparsity), [
        { name: 'sparsity', dtype: 'f32', shape: [logs.length], data: logs },
      ])
    }
    writeAtomic(join(into, saeLensFiles.config), (put) =>
      put(Buffer.from(`${JSON.stringify(json, null, 1)}\n`)),
    )
  })
}

function savedArchitecture({ config, params }: Sae): Current['architecture'] {
  const { architecture, transcoder } = config
  if (!transcoder) return architecture
  if (params.W_skip) {
    if (architecture === 'standard') return 'skip_transcoder'
    throw new Error(`SAELens has no ${architecture} transcoders that pass their input on`)
  }
  if (architecture === 'standard') return 'transcoder'
  if (architecture === 'jumprelu') return 'jumprelu_transcoder'
  throw new Error(`SAELens has no ${architecture} transcoders: write a sparsify folder, or train 'batchtopk'`)
}
