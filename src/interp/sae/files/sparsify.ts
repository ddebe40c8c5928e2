/**
 * SAEs in the folders of EleutherAI's sparsify: cfg.json and sae.safetensors (encoder.weight [n, d], encoder.bias, W_dec
 * [n, d], b_dec, W_skip). The folder's name says where it belongs: `layers.10` is the output of block 10.
 */
import { readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import * as z from 'zod'
import { replaceFolder } from '../../../model/save.ts'
import { system, writeAtomic } from '../../../store/file.ts'
import { FileError, openSafetensors, writeSafetensors } from '../../../store/index.ts'
import type { Sae, SaeConfig } from '../sae.ts'
import { readTensors, siteOf, source, transposed } from './tensors.ts'

export const sparsifyFiles = { config: 'cfg.json', weights: 'sae.safetensors' } as const

const schema = z.strictObject({
  activation: z.enum(['topk', 'groupmax']).default('topk'),
  d_in: z.int().positive(),
  expansion_factor: z.int().positive().default(32),
  num_latents: z.int().nonnegative().default(0),
  k: z.int().positive().default(32),
  normalize_decoder: z.boolean().default(true),
  multi_topk: z.boolean().default(false),
  skip_connection: z.boolean().default(false),
  transcode: z.boolean().default(false),
  /** Of the first versions: features of either sign. */
  signed: z.boolean().default(false),
})

/** Reads a folder. FileError, with file and reason, for what does not fit or is not known. */
export function readSparsify(folder: string): Sae {
  const path = join(folder, sparsifyFiles.config)
  let raw: unknown
  try {
    raw = JSON.parse(system(path, 0, () => readFileSync(path, 'utf8')))
  } catch (error) {
    if (error instanceof FileError) throw error
    throw new FileError(path, 0, `is not JSON: ${(error as Error).message}`)
  }
  const result = schema.safeParse(raw)
  if (!result.success) {
    const issues = result.error.issues.map((issue) =>
      issue.code === 'unrecognized_keys'
        ? `has the unknown keys ${issue.keys.join(', ')}`
        : `'${issue.path.join('.')}': ${issue.message}`,
    )
    throw new FileError(path, 0, issues.join('; '))
  }
  const { d_in: width, num_latents, expansion_factor, k, transcode, skip_connection } = result.data
  if (result.data.activation !== 'topk')
    throw new FileError(path, 0, "has the activation 'groupmax': topk is read")
  if (result.data.signed) throw new FileError(path, 0, 'has signed features, which are not read')
  const dSae = num_latents || width * expansion_factor
  const weights = join(folder, sparsifyFiles.weights)
  const found = readTensors(openSafetensors(weights), weights, {
    'encoder.weight': { shape: [dSae, width] },
    'encoder.bias': { shape: [dSae] },
    W_dec: { shape: [dSae, width] },
    b_dec: { shape: [width] },
    ...(skip_connection && { W_skip: { shape: [width, width] } }),
  })
  const name = basename(resolve(folder))
  const site = siteOf(name)
  const known = site !== name || name.startsWith('blocks.')
  const config: SaeConfig = {
    architecture: 'topk',
    dIn: width,
    dOut: width,
    dSae,
    transcoder: transcode,
    subtractBias: !transcode,
    normalize: 'none',
    k,
    rescaleByDecoderNorm: false,
    ...(known && (transcode ? { site: inputOf(site), siteOut: site } : { site })),
  }
  return {
    config,
    params: {
      W_enc: transposed(found['encoder.weight']!),
      b_enc: found['encoder.bias']!,
      W_dec: found.W_dec!,
      b_dec: found.b_dec!,
      ...(skip_connection && { W_skip: found.W_skip! }),
    },
  }
}

/** Where a module reads that writes here. */
const inputOf = (site: string): string =>
  site.replace(/hook_mlp_out$/, 'ln2.hook_normalized').replace(/hook_attn_out$/, 'ln1.hook_normalized')

/** Writes a folder, whole or not at all: topk only. Its name should be the hook point. */
export function writeSparsify(folder: string, { config, params }: Sae): void {
  const { architecture, dIn, dOut, dSae, k, transcoder, subtractBias, normalize, rescaleByDecoderNorm } =
    config
  const reasons = [
    architecture !== 'topk' && `of the architecture ${architecture}`,
    dIn !== dOut && `from ${dIn} to ${dOut}`,
    subtractBias === transcoder && 'with another use of b_dec',
    normalize !== 'none' && `with the normalisation ${normalize}`,
    rescaleByDecoderNorm && 'with features rescaled by decoder norms',
  ].filter(Boolean)
  if (reasons.length > 0)
    throw new Error(`sparsify has no SAEs ${reasons.join(', ')}: write a SAELens folder`)
  const json = {
    activation: 'topk',
    expansion_factor: Math.max(1, Math.round(dSae / dIn)),
    normalize_decoder: false,
    num_latents: dSae,
    k,
    multi_topk: false,
    skip_connection: params.W_skip !== undefined,
    transcode: transcoder,
    d_in: dIn,
  }
  replaceFolder(folder, (into) => {
    writeSafetensors(join(into, sparsifyFiles.weights), [
      source('encoder.weight', transposed(params.W_enc)),
      source('encoder.bias', params.b_enc!),
      source('W_dec', params.W_dec),
      source('b_dec', params.b_dec),
      ...(params.W_skip ? [source('W_skip', params.W_skip)] : []),
    ])
    writeAtomic(join(into, sparsifyFiles.config), (put) => put(Buffer.from(`${JSON.stringify(json)}\n`)))
  })
}
