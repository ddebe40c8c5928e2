/**
 * The law of equi-learning (He and Su 2024, "A Law of Next-Token Prediction in Large Language Models",
 * https://arxiv.org/abs/2408.13442): each layer reduces what is left to predict by the same factor.
 *
 *   PR_l = Σ (y - ŷ_l)² / Σ (y - ȳ)²  =  1 - R²        log PR_l ≈ log PR_1 + (l - 1) log ρ
 *
 * y is the number of the next token in the vocabulary, ŷ_l its least-squares prediction, with a constant, from the residual
 * stream after layer l, normalised without learned weights; the embedding counts as no layer. The law is the Pearson
 * correlation of log PR_l with l, which should be near -1, and ρ is the decay of a layer.
 *
 * The paper's code fits and measures on the same tokens. With n tokens and width d that takes about d / n off every
 * residual, so residuals on other tokens are given beside it. Least squares is streamed: sums of products are made in float64,
 * batch by batch, and solved by Cholesky with `ridge` times the mean variance of the features on the diagonal, since features that a layer
 * norm has centred are dependent. The final norm's weights, which the paper leaves on the last layer, change no residual.
 */
import { concat, type Tensor, tensor } from '../array/index.ts'
import type { DecoderSpec, Model, Pass } from '../model/index.ts'
import { norm } from '../model/parts/linear.ts'
import { solveNormal } from './leastSquares.ts'
import { streamSites } from './streams.ts'

/** Sums over observations of z zᵀ, z y and y², where z is the features [d] and a 1. For several targets [m] at once. */
export class Moments {
  readonly width: number
  readonly targets: number
  /** [d + 1, d + 1] */
  readonly products: Float64Array
  /** [d + 1, m] */
  readonly crossed: Float64Array
  /** [m] */
  readonly squares: Float64Array

  constructor(width: number, targets = 1) {
    this.width = width
    this.targets = targets
    this.products = new Float64Array((width + 1) ** 2)
    this.crossed = new Float64Array((width + 1) * targets)
    this.squares = new Float64Array(targets)
  }

  /** Observations. */
  get count(): number {
    return this.products.at(-1)!
  }

  add(products: ArrayLike<number>, crossed: ArrayLike<number>, squares: ArrayLike<number>): void {
    for (const [sum, part] of [
      [this.products, products],
      [this.crossed, crossed],
      [this.squares, squares],
    ] as const) {
      if (sum.length !== part.length)
        throw new Error(`moments: ${part.length} sums are added to ${sum.length}`)
      for (let i = 0; i < sum.length; i++) sum[i]! += Number(part[i])
    }
  }

  /** Mean [d], covariance [d, d], and of one target its mean, variance and covariance with the features [d]. */
  centred(target = 0) {
    const { width: d, count: n } = this
    const mean = Float64Array.from({ length: d }, (_, i) => this.products[d * (d + 1) + i]! / n)
    const covariance = new Float64Array(d * d)
    for (let i = 0; i < d; i++)
      for (let j = 0; j < d; j++)
        covariance[i * d + j] = this.products[i * (d + 1) + j]! / n - mean[i]! * mean[j]!
    const crossed = (i: number): number => this.crossed[i * this.targets + target]! / n
    const own = crossed(d)
    return {
      mean,
      covariance,
      target: own,
      variance: this.squares[target]! / n - own ** 2,
      with: Float64Array.from({ length: d }, (_, i) => crossed(i) - mean[i]! * own),
    }
  }
}

/** A linear prediction: constant + weights · x. */
export interface LinearFit {
  readonly constant: number
  readonly weights: Float64Array
}

/** Least squares. Throws where there are no more observations than numbers to fit, and for a constant target. */
export function leastSquares(moments: Moments, { target = 0, ridge = 1e-9 } = {}): LinearFit {
  const { width: d, count } = moments
  if (count <= d + 1) throw new Error(`least squares: ${count} observations for ${d + 1} numbers`)
  const { mean, covariance, variance, with: crossed, target: own } = moments.centred(target)
  if (!(variance > 0)) throw new Error('least squares: the target does not vary')
  let trace = 0
  for (let i = 0; i < d; i++) trace += covariance[i * d + i]!
  if (!(trace > 0)) return { constant: own, weights: new Float64Array(d) }
  const weights = solveNormal(covariance, crossed, d, ridge)
  return { weights, constant: own - dot(weights, mean) }
}

/** The mean squared error of a fit over the observations of `moments`, as a share of their variance. */
export function residualOf({ constant, weights }: LinearFit, moments: Moments, target = 0): number {
  const { mean, covariance, variance, with: crossed, target: own } = moments.centred(target)
  const { width: d } = moments
  let quadratic = 0
  for (let i = 0; i < d; i++) quadratic += weights[i]! * dot(weights, covariance.subarray(i * d, (i + 1) * d))
  const shift = own - constant - dot(weights, mean)
  return (variance - 2 * dot(weights, crossed) + quadratic + shift ** 2) / variance
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/** How well residuals of successive layers fall by the same factor. */
export interface Law {
  /** Pearson, of log residual with the number of the layer; 0 where the residuals are all the same. */
  readonly correlation: number
  /** ρ: the factor of one layer, from the line of least squares. */
  readonly decay: number
  /** Of the last layer to the first. */
  readonly ratio: number
}

export function lawOf(residuals: readonly number[]): Law {
  const n = residuals.length
  if (n < 3) throw new Error(`the law needs three layers or more, not ${n}`)
  if (residuals.some((value) => !(value > 0)))
    throw new RangeError(`residuals are positive: ${residuals.join(', ')}`)
  const logs = residuals.map(Math.log)
  const mean = logs.reduce((a, b) => a + b, 0) / n
  let [xx, xy, yy] = [0, 0, 0]
  logs.forEach((log, layer) => {
    const x = layer - (n - 1) / 2
    xx += x * x
    xy += x * (log - mean)
    yy += (log - mean) ** 2
  })
  return {
    correlation: yy > 1e-24 ? xy / Math.sqrt(xx * yy) : 0,
    decay: Math.exp(xy / xx),
    ratio: residuals[n - 1]! / residuals[0]!,
  }
}

export interface LawOptions {
  /** What a token counts as, by target: [vocab] each. By default one target, its number in the vocabulary. */
  readonly values?: readonly ArrayLike<number>[]
  /** Rows that are read at once. */
  readonly batch?: number
  readonly signal?: AbortSignal
  /** Called with the number of tokens read so far. */
  readonly onProgress?: (tokens: number) => void
}

/**
 * The moments of every layer's states with the next token, over rows of tokens of one length: each token but the last of
 * a row is an observation.
 */
export async function layerMoments(
  model: Model,
  rows: Iterable<readonly number[]>,
  { values, batch = 16, signal, onProgress }: LawOptions = {},
): Promise<Moments[]> {
  const { spec } = model
  const targets = values ?? [Float64Array.from({ length: spec.vocab }, (_, token) => token)]
  for (const one of targets)
    if (one.length !== spec.vocab)
      throw new Error(`next-token law: ${one.length} values for ${spec.vocab} tokens`)
  const table = new Float64Array(spec.vocab * targets.length)
  targets.forEach((one, i) => {
    for (let token = 0; token < spec.vocab; token++) table[token * targets.length + i] = Number(one[token])
  })
  using program = model.compile(
    'layerMoments',
    [
      ['batch', 'time'],
      [null, null],
    ],
    (pass, tokens: Tensor, worth: Tensor) => products(spec, pass, tokens, worth),
  )
  const layers = Array.from({ length: spec.layers }, () => new Moments(spec.width, targets.length))
  let read = 0
  const take = async (part: readonly (readonly number[])[]): Promise<void> => {
    signal?.throwIfAborted()
    const sums = await program(model.rows(part), tensor(table, [spec.vocab, targets.length]))
    const squares = await sums.squares.load()
    for (const [layer, moments] of layers.entries())
      moments.add(
        (await sums.layers[layer]!.products.load()) as Float64Array,
        (await sums.layers[layer]!.crossed.load()) as Float64Array,
        squares as Float64Array,
      )
    read += part.length * (part[0]!.length - 1)
    onProgress?.(read)
  }
  let held: (readonly number[])[] = []
  for (const row of rows) {
    held.push(row)
    if (held.length === batch) {
      await take(held)
      held = []
    }
  }
  if (held.length > 0) await take(held)
  if (read === 0) throw new Error('next-token law: there are no rows')
  return layers
}

function products(
  spec: DecoderSpec,
  { forward }: Pass,
  tokens: Tensor,
  worth: Tensor,
): { squares: Tensor; layers: { products: Tensor; crossed: Tensor }[] } {
  const sites = streamSites(spec).slice(1)
  const { reads } = forward({ tokens: tokens.slice(1, 0, -1) }, { read: sites })
  const y = worth.gather(tokens.slice(1, 1)).reshape([-1, worth.shape[1]!])
  const layers = sites.map((site) => {
    const x = norm(reads[site]!, {}, spec.norm).reshape([-1, spec.width]).cast('f64')
    const z = concat([x, x.slice(1, 0, 1).mul(0).add(1)], 1)
    return { products: z.matmul(z, { transposeA: true }), crossed: z.matmul(y, { transposeA: true }) }
  })
  return { squares: y.mul(y).sum(0), layers }
}

export interface NextTokenLaw extends Law {
  /** PR_l of layers 1 to L on the tokens that they were fitted on. */
  readonly residuals: readonly number[]
  /** The same on other tokens, and their law. */
  readonly heldOut?: Law & { readonly residuals: readonly number[] }
  readonly tokens: number
}

/** The law over layers whose moments are known, for one target. */
export function lawOfMoments(
  fitted: readonly Moments[],
  other?: readonly Moments[],
  target = 0,
): NextTokenLaw {
  const fits = fitted.map((moments) => leastSquares(moments, { target }))
  const residuals = fits.map((fit, layer) => residualOf(fit, fitted[layer]!, target))
  const held = other && fits.map((fit, layer) => residualOf(fit, other[layer]!, target))
  return {
    ...lawOf(residuals),
    residuals,
    ...(held && { heldOut: { ...lawOf(held), residuals: held } }),
    tokens: fitted[0]!.count,
  }
}

/** Fits and measures on `rows`, and measures on `heldOut` too where it is given. Rows are of one length each. */
export async function nextTokenLaw(
  model: Model,
  rows: Iterable<readonly number[]>,
  { heldOut, ...options }: LawOptions & { readonly heldOut?: Iterable<readonly number[]> } = {},
): Promise<NextTokenLaw> {
  const fitted = await layerMoments(model, rows, options)
  return lawOfMoments(fitted, heldOut && (await layerMoments(model, heldOut, options)))
}
