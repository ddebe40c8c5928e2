/**
 * A sparse autoencoder as it is used: what it does with activations, as array operations.
 *
 *   features(x) = activation((x − b_dec) W_enc + b_enc)      [..., d_in] -> [..., d_sae]
 *   x̂ = features W_dec + b_dec                               [..., d_sae] -> [..., d_out]
 *
 * Names and axis order of the parameters are SAELens'. What the activation is, `architecture` tells: standard (ReLU), topk,
 * jumprelu (x where x > threshold) or gated. A transcoder reads one site and gives another; it does not subtract b_dec.
 */
import { type Tensor, tensor } from '../../array/index.ts'
import type { Edit } from '../../model/index.ts'

export interface SaeParams {
  /** [d_in, d_sae] */
  readonly W_enc: Tensor
  /** [d_sae, d_out]: a row is what a feature writes. */
  readonly W_dec: Tensor
  /** [d_out] */
  readonly b_dec: Tensor
  /** [d_sae]; not of gated ones. */
  readonly b_enc?: Tensor | undefined
  /** [d_sae]; of jumprelu. */
  readonly threshold?: Tensor | undefined
  /** [d_sae], each; of gated. */
  readonly b_gate?: Tensor | undefined
  readonly r_mag?: Tensor | undefined
  readonly b_mag?: Tensor | undefined
  /** [d_out, d_in]; of transcoders that also pass their input on. */
  readonly W_skip?: Tensor | undefined
}

export const saeArchitectures = ['standard', 'topk', 'jumprelu', 'gated'] as const
export const normalizations = [
  'none',
  'expected_average_only_in',
  'constant_norm_rescale',
  'layer_norm',
] as const

export interface SaeConfig {
  readonly architecture: (typeof saeArchitectures)[number]
  readonly dIn: number
  readonly dOut: number
  readonly dSae: number
  readonly transcoder: boolean
  /** Whether b_dec is taken off the input. */
  readonly subtractBias: boolean
  readonly normalize: (typeof normalizations)[number]
  /** Features of a row, of topk. */
  readonly k?: number | undefined
  /** Of topk: choose by what features write, not by their size alone. */
  readonly rescaleByDecoderNorm?: boolean | undefined
  /** Where it reads, and for a transcoder where it writes: names of taps. */
  readonly site?: string | undefined
  readonly siteOut?: string | undefined
  /** What else is known of it: model, context size, versions; as SAELens writes it. */
  readonly metadata?: Readonly<Record<string, unknown>>
}

export interface Sae {
  readonly config: SaeConfig
  readonly params: SaeParams
}

/** Added to a standard deviation, as SAELens does. */
const layerNormEpsilon = 1e-5

/** What a run-time normalisation makes of the input, and how it is taken back from the output. */
export function normalized(
  { config }: Pick<Sae, 'config'>,
  x: Tensor,
): { input: Tensor; back: (y: Tensor) => Tensor } {
  switch (config.normalize) {
    case 'none':
      return { input: x, back: (y) => y }
    case 'expected_average_only_in':
      throw new Error(
        'this SAE takes activations whose mean norm is √width, and its files do not say the factor: measure it on the ' +
          'model (normScale) and fold it in (foldScale)',
      )
    case 'constant_norm_rescale': {
      const factor = x.mul(x).sum(-1, { keep: true }).sqrt().reciprocal().mul(Math.sqrt(config.dIn))
      return { input: x.mul(factor), back: (y) => y.div(factor) }
    }
    case 'layer_norm': {
      const mean = x.mean(-1, { keep: true })
      const centred = x.sub(mean)
      // The unbiased deviation, which is PyTorch's default.
      const deviation = centred
        .mul(centred)
        .sum(-1, { keep: true })
        .mul(1 / (config.dIn - 1))
        .sqrt()
      return {
        input: centred.div(deviation.add(layerNormEpsilon)),
        back: (y) => y.mul(deviation).add(mean),
      }
    }
  }
}

/** The k largest of each row, as far as they are above 0; 0 elsewhere. */
export function keepLargest(x: Tensor, k: number): Tensor {
  const { values, indices } = x.topK(k)
  return x.zero().broadcastTo(x.shape).scatterElements(indices, values.maximum(0), -1, 'set')
}

export const decoderNorms = (params: SaeParams): Tensor => params.W_dec.mul(params.W_dec).sum(1).sqrt()

/** Features of activations, [..., d_in] -> [..., d_sae]. */
export function encode(sae: Sae, x: Tensor): Tensor {
  const { config, params } = sae
  const { input } = normalized(sae, x)
  const centred = config.subtractBias ? input.sub(params.b_dec) : input
  const linear = centred.matmul(params.W_enc)
  switch (config.architecture) {
    case 'standard':
      return linear.add(params.b_enc!).maximum(0)
    case 'topk': {
      const before = linear.add(params.b_enc!)
      return keepLargest(config.rescaleByDecoderNorm ? before.mul(decoderNorms(params)) : before, config.k!)
    }
    case 'jumprelu': {
      const before = linear.add(params.b_enc!)
      return before.greater(params.threshold!).cast(before.dtype).mul(before.maximum(0))
    }
    case 'gated': {
      const open = linear.add(params.b_gate!).greater(0).cast(linear.dtype)
      return linear.mul(params.r_mag!.exp()).add(params.b_mag!).maximum(0).mul(open)
    }
  }
}

/**
 * Activations of features, [..., d_sae] -> [..., d_out]. `x` is what the features were of: it is needed where the
 * activations were normalised at run time, and by transcoders that pass their input on.
 */
export function decode(sae: Sae, features: Tensor, x?: Tensor): Tensor {
  const { config, params } = sae
  const scaled =
    config.architecture === 'topk' && config.rescaleByDecoderNorm
      ? features.div(decoderNorms(params))
      : features
  const written = scaled.matmul(params.W_dec).add(params.b_dec)
  const runtime = config.normalize !== 'none' && !config.transcoder
  if ((runtime || params.W_skip) && !x)
    throw new Error(`decode: this SAE (${config.normalize}) needs the activations that the features are of`)
  const skipped = params.W_skip ? written.add(x!.matmul(params.W_skip, { transposeB: true })) : written
  return runtime ? normalized(sae, x!).back(skipped) : skipped
}

/** What is left of activations after coding, [..., d_in] -> [..., d_out]. */
export const reconstruct = (sae: Sae, x: Tensor): Tensor => decode(sae, encode(sae, x), x)

/**
 * Edits that put the SAE into a model: at its site, the activations are replaced by what is left of them. Heads are
 * taken side by side. A transcoder reads at one site and replaces another further on. `change` works on the features
 * in between.
 */
export function saeEdits(
  sae: Sae,
  change: (features: Tensor) => Tensor = (features) => features,
): Record<string, Edit> {
  const { site, siteOut, transcoder, dIn } = sae.config
  if (site === undefined) throw new Error('this SAE does not say where it belongs: give it a site')
  const coded = (activation: Tensor): Tensor => {
    const x = flattened(activation, dIn)
    return decode(sae, change(encode(sae, x)), x)
  }
  if (!transcoder) return { [site]: (activation) => coded(activation).reshape(activation.shape) }
  if (siteOut === undefined)
    throw new Error('this transcoder does not say where it writes: give it a siteOut')
  // Both edits are traced in one pass, this one first.
  let read: Tensor | undefined
  return {
    [site]: (activation) => {
      read = activation
      return activation
    },
    [siteOut]: (activation) => {
      if (!read) throw new Error(`the transcoder reads '${site}', which comes after '${siteOut}'`)
      return coded(read).reshape(activation.shape)
    },
  }
}

/** [..., heads, size] as [..., heads × size], where the width says so. */
export function flattened(activation: Tensor, width: number): Tensor {
  if (activation.shape.at(-1) === width) return activation
  return activation.reshape([...activation.shape.slice(0, -2), width])
}

/**
 * The SAE for activations as they are, of one for activations times `scale` (and times `scaleOut` at a transcoder's
 * output): W_enc · scale, W_dec / scaleOut, b_dec / scaleOut. Features stay the same. An autoencoder that norms its
 * input at run time sees no scale.
 */
export function foldScale({ config, params }: Sae, scale: number, scaleOut = scale): Sae {
  if (['layer_norm', 'constant_norm_rescale'].includes(config.normalize)) {
    if (scale !== scaleOut) throw new Error(`an SAE with ${config.normalize} has one scale for both sides`)
    return { config, params }
  }
  const times = (leaf: Tensor, factor: number): Tensor =>
    tensor(
      (leaf.data as Float32Array).map((x) => x * factor),
      leaf.sizes,
    )
  const { W_enc, W_dec, b_dec, W_skip } = params
  return {
    config: { ...config, normalize: 'none' },
    params: {
      ...params,
      W_enc: times(W_enc, scale),
      W_dec: times(W_dec, 1 / scaleOut),
      b_dec: times(b_dec, 1 / scaleOut),
      ...(W_skip && { W_skip: times(W_skip, scale / scaleOut) }),
    },
  }
}
