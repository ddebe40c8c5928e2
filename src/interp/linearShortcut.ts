/**
 * Linear shortcuts: the stream after some blocks from that after fewer, by one matrix (Din et al. 2023,
 * https://arxiv.org/abs/2303.09435).
 *
 *   mat(i→j) = argmin over W of Σ ‖W h_i − h_j‖²,   without a bias;   id(i→j) is the identity
 *
 * From all blocks' streams to the last one they are a lens. As in the authors' code h_L is the stream before the final
 * norm. They take one random position of each of 9,000 sentences; we take every position of the text given. Solved
 * from the moments Σ h_i h_iᵀ and Σ h_i h_jᵀ, summed in float64 batch by batch: memory does not grow with the text.
 */
import * as z from 'zod'
import { type Tensor, tensor } from '../array/index.ts'
import { method } from '../method/index.ts'
import type { Model, Pass } from '../model/index.ts'
import { coveringBatches, type TokenSource } from '../train/index.ts'
import { solveNormal } from './leastSquares.ts'
import type { Lens, Translator } from './lens.ts'
import { loaded, rowLength, streamSites } from './streams.ts'

export const shortcutSchema = z.strictObject({
  tokens: z.int().positive().default(20_000).describe('Tokens to fit on; the first of the text'),
  ridge: z
    .number()
    .nonnegative()
    .default(1e-10)
    .describe('Added to the diagonal, as a share of its mean: what makes up for directions without data'),
})
export type ShortcutOptions = z.input<typeof shortcutSchema>

/** Streams after `from` and `to` blocks. */
export type Pair = readonly [from: number, to: number]

const key = ([from, to]: Pair): string => `${from},${to}`

/** Sums over positions: of each stream, of its squares, and of products of streams. */
export class StreamMoments {
  readonly width: number
  count = 0
  readonly sums: readonly Float64Array[]
  readonly #products = new Map<string, Float64Array>()

  constructor(width: number, streams: number, pairs: readonly Pair[]) {
    this.width = width
    this.sums = Array.from({ length: streams }, () => new Float64Array(width))
    for (const pair of pairs) this.#products.set(key(pair), new Float64Array(width * width))
  }

  /** Σ h_from h_toᵀ, [width, width]. */
  product(pair: Pair): Float64Array {
    const found = this.#products.get(key(pair))
    if (!found)
      throw new RangeError(
        `the moments of the streams after ${pair.join(' and ')} blocks were not collected; there are: ${[...this.#products.keys()].join('; ')}`,
      )
    return found
  }
}

/** Every pair that shortcuts between these streams need. */
export const withSquares = (pairs: readonly Pair[]): Pair[] => {
  const all = pairs.flatMap(([from, to]): Pair[] => [
    [from, from],
    [from, to],
    [to, to],
  ])
  return [...new Map(all.map((pair) => [key(pair), pair])).values()]
}

/** From every block's stream to the last: what a lens needs. */
export const toLast = (layers: number): Pair[] => Array.from({ length: layers }, (_, i) => [i, layers])

export interface CollectOptions {
  /** Most tokens that are read. */
  readonly tokens?: number
  readonly batch?: number
  /** Tokens of a row; 128 by default, or as many as the model takes. */
  readonly length?: number
  readonly onProgress?: (done: number, of: number) => void
  readonly signal?: AbortSignal | undefined
}

/** Reads text, cut into rows without overlap, and sums the moments that `pairs` need. */
export async function streamMoments(
  model: Model,
  source: TokenSource['tokens'],
  pairs: readonly Pair[],
  options: CollectOptions = {},
): Promise<StreamMoments> {
  const { batch = 8, tokens = source.length, onProgress, signal } = options
  const length = rowLength(model, options.length)
  const { spec } = model
  const needed = withSquares(pairs)
  const sites = streamSites(spec)
  const bad = needed.flat().find((i) => !sites[i])
  if (bad !== undefined)
    throw new RangeError(`there is no stream after ${bad} blocks: ${model.path} has ${spec.layers}`)
  using program = model.compile('moments', [['batch', 'time']], ({ forward }: Pass, rows: Tensor) => {
    const { reads } = forward({ tokens: rows.slice(1, 0, -1) }, { read: sites })
    const streams = sites.map((site) => reads[site]!.reshape([-1, spec.width]).cast('f64'))
    return {
      sums: streams.map((h) => h.sum(0)),
      products: needed.map(([from, to]) => streams[from]!.matmul(streams[to]!, { transposeA: true })),
    }
  })
  const moments = new StreamMoments(spec.width, sites.length, needed)
  const covering = coveringBatches(source.subarray(0, Math.min(tokens, source.length)), { batch, length })
  for (let i = 0; i < covering.count; i++) {
    signal?.throwIfAborted()
    // A window's last token is only ever a target: it is the next window's first.
    const rows = covering.at(i).tokens
    const { sums, products } = await loaded(await program(rows))
    for (const [stream, sum] of sums.entries()) add(moments.sums[stream]!, sum)
    for (const [p, product] of products.entries()) add(moments.product(needed[p]!), product)
    moments.count += rows.sizes[0]! * (rows.sizes[1]! - 1)
    onProgress?.(i + 1, covering.count)
  }
  return moments
}

function add(total: Float64Array, part: Tensor): void {
  const data = part.data as Float64Array
  for (let i = 0; i < total.length; i++) total[i]! += data[i]!
  part.dispose()
}

/** mat(from→to), [width, width], outputs first. */
export function shortcut(moments: StreamMoments, [from, to]: Pair, ridge = 1e-10): Float64Array {
  const { width } = moments
  const solved = solveNormal(
    moments.product([from, from]).slice(),
    moments.product([from, to]).slice(),
    width,
    ridge,
  )
  return transposed(solved, width)
}

function transposed(matrix: Float64Array, n: number): Float64Array {
  return matrix.map((_, i) => matrix[(i % n) * n + Math.floor(i / n)]!)
}

/**
 * r²: 1 − Σ(y − ŷ)² / Σ(y − ȳ)², the mean over coordinates, of ŷ = W h_from (the identity where none is given) for
 * y = h_to. Moments of text that W was not fitted on. It may be below 0.
 */
export function r2(moments: StreamMoments, [from, to]: Pair, weight?: Float64Array): number {
  const { width: n, count, sums } = moments
  const [xx, xy, yy] = [
    [from, from],
    [from, to],
    [to, to],
  ].map((pair) => moments.product(pair as unknown as Pair))
  let mean = 0
  for (let j = 0; j < n; j++) {
    let [cross, square] = [0, 0]
    if (!weight) [cross, square] = [xy![j * n + j]!, xx![j * n + j]!]
    else
      for (let a = 0; a < n; a++) {
        const w = weight[j * n + a]!
        cross += w * xy![a * n + j]!
        let inner = 0
        for (let b = 0; b < n; b++) inner += xx![a * n + b]! * weight[j * n + b]!
        square += w * inner
      }
    const own = yy![j * n + j]!
    const residual = own - 2 * cross + square
    const total = own - sums[to]![j]! ** 2 / count
    mean += (1 - residual / total) / n
  }
  return mean
}

/** The lens of these moments. */
export const shortcutLens = (moments: StreamMoments, layers: number, ridge?: number): Lens => ({
  kind: 'shortcut',
  translators: toLast(layers).map(
    (pair): Translator => ({
      weight: tensor(Float32Array.from(shortcut(moments, pair, ridge)), [moments.width, moments.width]),
    }),
  ),
})

/** Fits the lens on tokens. */
export async function fitShortcuts(
  model: Model,
  source: TokenSource['tokens'],
  options: ShortcutOptions = {},
  reading: Pick<CollectOptions, 'onProgress' | 'signal'> = {},
): Promise<Lens> {
  const { tokens, ridge } = shortcutSchema.parse(options)
  const { layers } = model.spec
  const moments = await streamMoments(model, source, toLast(layers), { tokens, ...reading })
  if (moments.count < moments.width)
    throw new RangeError(
      `${moments.count} tokens cannot determine a matrix of ${moments.width} columns: give at least a few times as many`,
    )
  return shortcutLens(moments, layers, ridge)
}

export default method({
  id: 'linear-shortcut',
  title: 'Linear shortcuts between layers',
  socket: 'lens',
  paper: 16,
  source: 'Din et al. 2023, https://arxiv.org/abs/2303.09435',
  summary:
    'The last layer from an earlier one by a matrix, fitted by least squares: a lens and an early exit.',
  options: shortcutSchema,
  make: (options) => (model: Model, tokens: TokenSource['tokens'], signal?: AbortSignal) =>
    fitShortcuts(model, tokens, options, { signal }),
})
