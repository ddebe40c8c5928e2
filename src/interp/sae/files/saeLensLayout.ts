/**
 * What SAELens' configurations mean, and what weights belong to them; nothing of files, so that pages have it too.
 *
 * Version 6 has what is needed to compute in known keys, and about the model in `metadata`. Before that (no
 * `sae_lens_version`, or one below 6) cfg.json was the whole configuration of a training run: what changes the computation
 * is read, the rest is listed.
 */
import * as z from 'zod'
import { type Checkpoint, FileError } from '../../../store/checkpoint.ts'
import { normalizations, type Sae, type SaeConfig, type SaeParams } from '../sae.ts'
import { readTensors, siteOf, type Wanted } from './tensors.ts'

export const saeLensFiles = {
  config: 'cfg.json',
  weights: 'sae_weights.safetensors',
  sparsity: 'sparsity.safetensors',
} as const

const [positive, optionalString] = [z.int().positive(), z.string().nullish()]

const current = z.strictObject({
  architecture: z.enum([
    'standard',
    'topk',
    'jumprelu',
    'gated',
    'transcoder',
    'skip_transcoder',
    'jumprelu_transcoder',
  ]),
  d_in: positive,
  d_sae: positive,
  d_out: positive.optional(),
  dtype: z.string(),
  device: z.string().nullish(),
  apply_b_dec_to_input: z.boolean(),
  normalize_activations: z.enum(normalizations).default('none'),
  reshape_activations: z.enum(['none', 'hook_z']).default('none'),
  k: positive.optional(),
  rescale_acts_by_decoder_norm: z.boolean().optional(),
  metadata: z
    .looseObject({
      hook_name: optionalString,
      hook_name_out: optionalString,
      hook_head_index: z.int().nullish(),
      sae_lens_version: z.string().optional(),
    })
    .default({}),
})
export type Current = z.output<typeof current>

export interface ReadSae {
  readonly sae: Sae
  /** Keys of an old configuration that say how it was trained, not what it computes. */
  readonly ignored: readonly string[]
}

/** An SAE of what is in its folder: the JSON of its configuration and its weights. `paths` are for messages. */
export function saeLensOf(
  raw: Record<string, unknown>,
  weights: Checkpoint,
  { path, weightsPath }: { readonly path: string; readonly weightsPath: string },
): ReadSae {
  const { config: found, ignored } = isOld(raw) ? fromOld(raw, path) : { config: raw, ignored: [] }
  const result = current.safeParse(found)
  if (!result.success)
    throw new FileError(path, 0, problems(result.error), 'See docs/sae.md for what is read')
  const read = result.data
  const { architecture, d_in, d_sae, metadata } = read
  const transcoder = architecture.endsWith('transcoder')
  const fail = (reason: string): never => {
    throw new FileError(path, 0, reason)
  }
  if (metadata.hook_head_index != null)
    fail(`is an SAE of the single head ${metadata.hook_head_index}; those of whole sites are read`)
  if (architecture === 'topk' && read.k === undefined) fail("is of the architecture topk, but has no 'k'")
  if (transcoder && read.d_out === undefined) fail(`is a ${architecture}, but has no 'd_out'`)
  if (transcoder && read.apply_b_dec_to_input) fail('a transcoder does not subtract b_dec from its input')
  const dOut = transcoder ? read.d_out! : d_in
  const kind = (
    { transcoder: 'standard', skip_transcoder: 'standard', jumprelu_transcoder: 'jumprelu' } as const
  )[architecture as 'transcoder'] as SaeConfig['architecture'] | undefined
  const config: SaeConfig = {
    architecture: kind ?? (architecture as SaeConfig['architecture']),
    dIn: d_in,
    dOut,
    dSae: d_sae,
    transcoder,
    subtractBias: read.apply_b_dec_to_input,
    normalize: read.normalize_activations,
    ...(architecture === 'topk' && {
      k: read.k,
      rescaleByDecoderNorm: read.rescale_acts_by_decoder_norm ?? false,
    }),
    site: metadata.hook_name == null ? undefined : siteOf(metadata.hook_name),
    siteOut: metadata.hook_name_out == null ? undefined : siteOf(metadata.hook_name_out),
    metadata,
  }
  const params = readTensors(weights, weightsPath, shapesOf(config, architecture === 'skip_transcoder'))
  return { sae: { config, params: params as unknown as SaeParams }, ignored }
}

function shapesOf(
  { architecture, dIn, dOut, dSae }: SaeConfig,
  skip: boolean,
): Readonly<Record<string, Wanted>> {
  const latent: Wanted = { shape: [dSae] }
  return {
    W_enc: { shape: [dIn, dSae] },
    W_dec: { shape: [dSae, dOut] },
    b_dec: { shape: [dOut] },
    ...(architecture === 'gated' ? { b_gate: latent, r_mag: latent, b_mag: latent } : { b_enc: latent }),
    ...(architecture === 'jumprelu' && { threshold: latent }),
    ...(skip && { W_skip: { shape: [dOut, dIn] } }),
  }
}

const problems = (error: z.ZodError): string =>
  error.issues
    .map((issue) =>
      issue.code === 'unrecognized_keys'
        ? `has the unknown keys ${issue.keys.map((key) => `'${key}'`).join(', ')}`
        : `'${issue.path.join('.')}': ${issue.message}`,
    )
    .join('; ')

function isOld(raw: Readonly<Record<string, unknown>>): boolean {
  const metadata = (raw.metadata ?? {}) as Readonly<Record<string, unknown>>
  const version = metadata.sae_lens_version ?? raw.sae_lens_version
  return typeof version !== 'string' || Number(version.split('.')[0]) < 6
}

/** About the model, as version 6 keeps it. */
const aboutModel = new Set([
  'model_name',
  'model_class_name',
  'hook_name',
  'hook_head_index',
  'model_from_pretrained_kwargs',
  'prepend_bos',
  'neuronpedia_id',
  'context_size',
  'seqpos_slice',
  'dataset_path',
  'sae_lens_training_version',
])

/** What version 6 makes of an older configuration, by its own rules. */
function fromOld(
  raw: Readonly<Record<string, unknown>>,
  path: string,
): { config: Record<string, unknown>; ignored: string[] } {
  const renamed: Readonly<Record<string, string>> = {
    hook_point: 'hook_name',
    hook_point_head_index: 'hook_head_index',
    activation_fn_str: 'activation_fn',
  }
  const old = Object.fromEntries(Object.entries(raw).map(([key, value]) => [renamed[key] ?? key, value]))
  const activation = (old.activation_fn ?? 'relu') as string
  const kwargs = (old.activation_fn_kwargs ?? {}) as Readonly<Record<string, unknown>>
  const refuse = (reason: string): never => {
    throw new FileError(path, 0, reason)
  }
  if (activation !== 'relu' && activation !== 'topk')
    refuse(`has the activation '${activation}': relu and topk are read`)
  if (old.finetuning_scaling_factor === true) refuse('has a finetuning_scaling_factor, which is not read')
  const normalize = old.normalize_activations
  const used = new Set([
    ...['architecture', 'd_in', 'd_sae', 'dtype', 'device', 'apply_b_dec_to_input', 'normalize_activations'],
    ...[
      'reshape_activations',
      'activation_fn',
      'activation_fn_kwargs',
      'finetuning_scaling_factor',
      'metadata',
    ],
  ])
  const hook = typeof old.hook_name === 'string' ? old.hook_name : ''
  const metadata = Object.fromEntries(Object.entries(old).filter(([key]) => aboutModel.has(key)))
  return {
    config: {
      architecture: activation === 'topk' ? 'topk' : (old.architecture ?? 'standard'),
      d_in: old.d_in,
      d_sae: old.d_sae,
      dtype: old.dtype ?? 'float32',
      apply_b_dec_to_input: old.apply_b_dec_to_input ?? true,
      normalize_activations:
        normalize === true
          ? 'expected_average_only_in'
          : normalize === false
            ? 'none'
            : (normalize ?? 'none'),
      reshape_activations: old.reshape_activations ?? (hook.includes('hook_z') ? 'hook_z' : 'none'),
      ...(activation === 'topk' && { k: kwargs.k }),
      metadata,
    },
    ignored: Object.keys(old).filter((key) => !used.has(key) && !aboutModel.has(key)),
  }
}
