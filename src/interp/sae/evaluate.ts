/**
 * How good an SAE is: metrics under the names of SAELens' evals, over held-out text.
 *
 * Where SAELens 6 and the formulas differ, the formula is taken: `explained_variance` is 1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)
 * over all tokens (there, the mean of squares takes the place of the mean); `mse` is E‖x − x̂‖² for a token (there, it is
 * divided by the tokens of a batch once more).
 */
import { crossEntropy, logSoftmax, type Tensor } from '../../array/index.ts'
import {
  type AdapterTree,
  applyAdapters,
  type DecoderParams,
  type Model,
  type TapOptions,
} from '../../model/index.ts'
import { ActivationSource } from '../activations/index.ts'
import { decode, encode, type Sae, type SaeParams } from './sae.ts'
import { traced } from './traced.ts'

export interface EvaluateOptions {
  readonly model: Model
  readonly sae: Sae
  /** Held-out text. */
  readonly tokens: Int32Array | Uint16Array
  /** Tokens of a window; 128 by default. */
  readonly length?: number
  /** Windows of one pass; 8 by default. */
  readonly windows?: number
  /** Most tokens that are evaluated; 32,768 by default. */
  readonly most?: number
  readonly begin?: number | undefined
  /** Tokens that are left as they are, and out of all means. */
  readonly exclude?: readonly number[]
  readonly progress?: (done: number, of: number) => void
}

export interface SaeMetrics {
  readonly explained_variance: number
  readonly mse: number
  readonly cossim: number
  /** ‖x̂‖ / ‖x‖. */
  readonly l2_ratio: number
  /** E‖x̂‖² / E x·x̂ (Rajamanoharan et al. 2024, equation 10): 1 where nothing shrinks. */
  readonly relative_reconstruction_bias: number
  /** Active features of a token. */
  readonly l0: number
  readonly l1: number
  /** 1 where the model loses nothing, 0 where it loses as much as without these activations. */
  readonly ce_loss_score: number
  readonly ce_loss_without_sae: number
  readonly ce_loss_with_sae: number
  /** With zeros in the place of the activations. */
  readonly ce_loss_with_ablation: number
  readonly kl_div_score: number
  readonly kl_div_with_sae: number
  readonly kl_div_with_ablation: number
  /** Share of the features that were never active. */
  readonly dead_features: number
  readonly tokens: number
}

export interface Evaluation {
  readonly metrics: SaeMetrics
  /** Share of the tokens on which each feature is active. */
  readonly feature_density: Float64Array
}

/** What one pass gives: sums over its tokens. */
interface Sums {
  readonly count: Tensor
  readonly square: Tensor
  readonly sum: Tensor
  readonly error: Tensor
  readonly cosine: Tensor
  readonly ratio: Tensor
  readonly written: Tensor
  readonly dot: Tensor
  readonly l1: Tensor
  readonly active: Tensor
  readonly predicted: Tensor
  readonly ce: { readonly plain: Tensor; readonly sae: Tensor; readonly zero: Tensor }
  readonly kl: { readonly sae: Tensor; readonly zero: Tensor }
}

/** Runs the model three times over each window: as it is, through the SAE, and with zeros at the site. */
export async function evaluateSae(options: EvaluateOptions): Promise<Evaluation> {
  const {
    model,
    sae,
    tokens,
    length = 128,
    windows = 8,
    most = 32768,
    begin,
    exclude = [],
    progress,
  } = options
  const { site, siteOut = site, transcoder, dSae } = sae.config
  if (site === undefined || siteOut === undefined)
    throw new Error('this SAE does not say where it belongs: give it a site')
  const source = new ActivationSource({
    model,
    tokens,
    sites: [site, siteOut],
    length,
    windows,
    begin,
    exclude,
  })
  const program = model.engine.jit(
    (params: DecoderParams, adapters: readonly AdapterTree[], own: SaeParams, rows: Tensor): Sums =>
      sums(model, applyAdapters(params, adapters), { ...sae, params: own }, rows, {
        site,
        siteOut: transcoder ? siteOut : site,
        exclude,
      }),
    { name: 'evaluateSae', axes: [undefined, undefined, undefined, ['batch', 'time']] },
  )
  const passes = Math.min(source.chunks, Math.max(1, Math.ceil(most / (length * windows))))
  let total: Readonly<Record<string, number>> | undefined
  let mean: Float64Array | undefined
  const active = new Float64Array(dSae)
  try {
    for (let i = 0; i < passes; i++) {
      const found = await program(model.params, model.adapters, sae.params, source.tokensOf(i))
      total = added(total, numbers(found))
      mean ??= new Float64Array((found.sum.data as Float32Array).length)
      for (const [to, from] of [
        [mean, found.sum],
        [active, found.active],
      ] as const)
        (from.data as Float32Array).forEach((value, j) => {
          to[j]! += value
        })
      progress?.(i + 1, passes)
    }
  } finally {
    program.dispose()
  }
  return { metrics: metricsOf(total!, mean!, active), feature_density: active.map((n) => n / total!.count!) }
}

/** log10 of densities in bins of a given width, as [from, count]; never active ones are left out. */
export function densityHistogram(
  densities: ArrayLike<number>,
  width = 0.25,
): { readonly from: number; readonly count: number }[] {
  const counts = new Map<number, number>()
  for (const density of Array.from(densities)) {
    if (density === 0) continue
    const bin = Math.floor(Math.log10(density) / width)
    counts.set(bin, (counts.get(bin) ?? 0) + 1)
  }
  const bins = [...counts.keys()]
  if (bins.length === 0) return []
  const [low, high] = [Math.min(...bins), Math.max(...bins)]
  return Array.from({ length: high - low + 1 }, (_, i) => ({
    from: (low + i) * width,
    count: counts.get(low + i) ?? 0,
  }))
}

interface Places {
  readonly site: string
  readonly siteOut: string
  readonly exclude: readonly number[]
}

function sums(model: Model, params: DecoderParams, sae: Sae, tokens: Tensor, places: Places): Sums {
  const { site, siteOut, exclude } = places
  const run = (taps: TapOptions) => traced(model, params, tokens, taps)
  const plain = run({ read: [...new Set([site, siteOut])] })
  const [input, wanted] = [plain.reads[site]!, plain.reads[siteOut]!]
  const [batch, time] = tokens.shape
  const rows = (activation: Tensor, width: number): Tensor => activation.reshape([batch!, time!, width])
  const x = rows(input, sae.config.dIn)
  const y = rows(wanted, sae.config.dOut)
  const features = encode(sae, x)
  const given = decode(sae, features, x)

  // 1 for tokens that count, [batch, T].
  const excluded = exclude.reduce<Tensor | undefined>((found, id) => {
    const same = tokens.equal(id)
    return found ? found.or(same) : same
  }, undefined)
  const counts = excluded
    ? excluded.not().cast('f32')
    : tokens.zero().cast('f32').add(1).broadcastTo(tokens.shape)
  const column = counts.expandDims(-1)
  const through = column.greater(0).where(given, y)
  const replaced = run({ edit: { [siteOut]: () => through.reshape(wanted.shape) } })
  const zero = run({ edit: { [siteOut]: (activation) => activation.mul(0) } })

  const before = (value: Tensor): Tensor => value.slice(1, 0, -1)
  const targets = tokens.slice(1, 1)
  const ce = ({ logits }: { readonly logits: Tensor }): Tensor =>
    crossEntropy(before(logits), targets).mul(before(counts)).sum()
  const logs = logSoftmax(plain.logits)
  const kl = ({ logits }: { readonly logits: Tensor }): Tensor =>
    logs
      .exp()
      .mul(logs.sub(logSoftmax(logits)))
      .sum(-1)
      .mul(counts)
      .sum()

  const norm = (value: Tensor): Tensor => value.mul(value).sum(-1).sqrt()
  const of = (value: Tensor): Tensor => value.mul(counts).sum()
  const error = given.sub(y)
  const [size, sizeGiven] = [norm(y), norm(given)]
  const dot = given.mul(y).sum(-1)
  return {
    count: counts.sum(),
    square: of(y.mul(y).sum(-1)),
    sum: y.mul(column).sum([0, 1]),
    error: of(error.mul(error).sum(-1)),
    cosine: of(dot.div(size.mul(sizeGiven).maximum(1e-12))),
    ratio: of(sizeGiven.div(size.maximum(1e-4))),
    written: of(given.mul(given).sum(-1)),
    dot: of(dot),
    l1: of(features.sum(-1)),
    active: features.greater(0).cast('f32').mul(column).sum([0, 1]),
    predicted: before(counts).sum(),
    ce: { plain: ce(plain), sae: ce(replaced), zero: ce(zero) },
    kl: { sae: kl(replaced), zero: kl(zero) },
  }
}

function numbers({ sum: _, active: __, ce, kl, ...rest }: Sums): Record<string, number> {
  const flat = { ...rest, cePlain: ce.plain, ceSae: ce.sae, ceZero: ce.zero, klSae: kl.sae, klZero: kl.zero }
  return Object.fromEntries(Object.entries(flat).map(([name, value]) => [name, value.item()]))
}

const added = (
  total: Readonly<Record<string, number>> | undefined,
  more: Readonly<Record<string, number>>,
): Record<string, number> =>
  Object.fromEntries(Object.entries(more).map(([name, value]) => [name, (total?.[name] ?? 0) + value]))

function metricsOf(
  total: Readonly<Record<string, number>>,
  sum: Float64Array,
  active: Float64Array,
): SaeMetrics {
  const count = total.count!
  if (count === 0) throw new Error('all tokens are left out: there is nothing to evaluate')
  const of = (name: string): number => total[name]! / count
  const centre = sum.reduce((square, value) => square + (value / count) ** 2, 0)
  const ce = (name: string): number => total[name]! / total.predicted!
  const [plain, withSae, zero] = [ce('cePlain'), ce('ceSae'), ce('ceZero')]
  return {
    explained_variance: 1 - of('error') / (of('square') - centre),
    mse: of('error'),
    cossim: of('cosine'),
    l2_ratio: of('ratio'),
    relative_reconstruction_bias: total.written! / total.dot!,
    l0: active.reduce((a, b) => a + b, 0) / count,
    l1: of('l1'),
    ce_loss_score: (zero - withSae) / (zero - plain),
    ce_loss_without_sae: plain,
    ce_loss_with_sae: withSae,
    ce_loss_with_ablation: zero,
    kl_div_score: (total.klZero! - total.klSae!) / total.klZero!,
    kl_div_with_sae: of('klSae'),
    kl_div_with_ablation: of('klZero'),
    dead_features: active.filter((n) => n === 0).length / active.length,
    tokens: count,
  }
}
