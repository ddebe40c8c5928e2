/**
 * An early exit that dominating value vectors announce (Geva et al. 2022, https://arxiv.org/abs/2203.14680, section 6.2).
 *
 * A prediction saturates at the first layer from which on the leading token stays the model's own. Value vectors are
 * clustered by what they promote. At a layer, the clusters of the ten dominant sub-updates, in order, are compared with
 * those of known texts: with a match counted for each place where both have the same cluster, the model may exit if the known
 * texts that saturate here match better, by their best and by their mean, than those of every later layer of saturation.
 *
 * What differs from the paper's code: clusters are those of spherical k-means, not agglomerative; both ends of a value
 * vector are clustered, since coefficients can be negative.
 */
import { random } from '../array/index.ts'
import { factorize } from './leastSquares.ts'

/** The layer at which each position saturates. predictions [layers, positions]: the leading token after each layer. */
export function saturationLayers(predictions: ArrayLike<number>, layers: number): Int32Array {
  const positions = predictions.length / layers
  if (!Number.isInteger(positions))
    throw new Error(`saturation: ${predictions.length} predictions are not those of ${layers} layers`)
  return Int32Array.from({ length: positions }, (_, t) => {
    const final = predictions[(layers - 1) * positions + t]
    let layer = layers - 1
    while (layer > 0 && predictions[(layer - 1) * positions + t] === final) layer--
    return layer
  })
}

/**
 * Clusters of value vectors by the cosine of their scores over the vocabulary. vectors: [hidden, width] of each layer;
 * readout [width, vocab]. Gives for each layer the cluster of v_i at 2i and that of -v_i at 2i + 1.
 */
export function clusterValues(
  vectors: readonly Float32Array[],
  readout: Float32Array,
  width: number,
  {
    clusters,
    seed,
    rounds = 10,
  }: { readonly clusters: number; readonly seed: number; readonly rounds?: number },
): Int32Array[] {
  const { points, own } = whitened(vectors, readout, width)
  const count = points.length / width
  if (clusters < 1 || clusters > count) throw new RangeError(`${clusters} clusters of ${count} value vectors`)
  let centres = begin(points, width, clusters, random.generator(seed))
  const assigned = new Int32Array(2 * count)
  for (let round = 0; ; round++) {
    assign(points, centres, width, assigned)
    if (round === rounds) break
    centres = means(points, centres, width, assigned)
  }
  let from = 0
  return own.map((length) => {
    const part = assigned.slice(2 * from, 2 * (from + length))
    from += length
    return part
  })
}

/** Unit vectors whose products are the cosines of the scores: with G = readout readoutᵀ = L Lᵀ these are those of Lᵀ v. */
function whitened(
  vectors: readonly Float32Array[],
  readout: Float32Array,
  width: number,
): { points: Float64Array; own: number[] } {
  const vocab = readout.length / width
  const gram = new Float64Array(width * width)
  for (let i = 0; i < width; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let w = 0; w < vocab; w++) sum += readout[i * vocab + w]! * readout[j * vocab + w]!
      gram[i * width + j] = sum
      gram[j * width + i] = sum
    }
  // A layer norm centres what it reads: one direction is not seen at all.
  const small = (1e-9 * gram.reduce((sum, x, i) => (i % (width + 1) === 0 ? sum + x : sum), 0)) / width
  for (let i = 0; i < width; i++) gram[i * width + i]! += small
  factorize(gram, width)
  const own = vectors.map((layer) => layer.length / width)
  const points = new Float64Array(own.reduce((a, b) => a + b, 0) * width)
  let row = 0
  for (const layer of vectors)
    for (let from = 0; from < layer.length; from += width, row++) {
      let squares = 0
      for (let k = 0; k < width; k++) {
        let sum = 0
        for (let i = k; i < width; i++) sum += gram[i * width + k]! * layer[from + i]!
        points[row * width + k] = sum
        squares += sum * sum
      }
      const length = Math.sqrt(squares) || 1
      for (let k = 0; k < width; k++) points[row * width + k]! /= length
    }
  return { points, own }
}

/** The first centres: each with a chance that grows with its distance from those before (Arthur and Vassilvitskii 2007). */
function begin(
  points: Float64Array,
  width: number,
  clusters: number,
  uniform: () => number,
): Float64Array<ArrayBuffer> {
  const ends = (2 * points.length) / width
  const centres = new Float64Array(clusters * width)
  // 1 - cosine with the nearest centre, of v_i at 2i and of -v_i at 2i + 1.
  const distance = new Float64Array(ends).fill(1)
  for (let c = 0; c < clusters; c++) {
    let left = uniform() * distance.reduce((a, b) => a + b, 0)
    let end = 0
    for (; end < ends - 1; end++) {
      left -= distance[end]!
      if (left < 0) break
    }
    const sign = end % 2 === 0 ? 1 : -1
    const from = (end >> 1) * width
    for (let k = 0; k < width; k++) centres[c * width + k] = sign * points[from + k]!
    for (let i = 0; i < ends / 2; i++) {
      let cosine = 0
      for (let k = 0; k < width; k++) cosine += points[i * width + k]! * centres[c * width + k]!
      const [one, other] = [Math.max(0, 1 - cosine), 1 + cosine]
      if (c === 0 || one < distance[2 * i]!) distance[2 * i] = one
      if (c === 0 || other < distance[2 * i + 1]!) distance[2 * i + 1] = Math.max(0, other)
    }
  }
  return centres
}

function assign(points: Float64Array, centres: Float64Array, width: number, assigned: Int32Array): void {
  const [count, clusters] = [points.length / width, centres.length / width]
  for (let i = 0; i < count; i++) {
    let [most, least, high, low] = [0, 0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]
    for (let c = 0; c < clusters; c++) {
      let product = 0
      for (let k = 0; k < width; k++) product += points[i * width + k]! * centres[c * width + k]!
      if (product > high) [most, high] = [c, product]
      if (product < low) [least, low] = [c, product]
    }
    assigned[2 * i] = most
    assigned[2 * i + 1] = least
  }
}

/** The directions of the clusters' sums; a cluster that has lost all members stays where it was. */
function means(
  points: Float64Array,
  before: Float64Array,
  width: number,
  assigned: Int32Array,
): Float64Array<ArrayBuffer> {
  const sums = new Float64Array(before.length)
  for (let i = 0; i < points.length / width; i++)
    for (const [end, sign] of [
      [0, 1],
      [1, -1],
    ] as const) {
      const c = assigned[2 * i + end]!
      for (let k = 0; k < width; k++) sums[c * width + k]! += sign * points[i * width + k]!
    }
  for (let c = 0; c < sums.length / width; c++) {
    const length = Math.hypot(...sums.subarray(c * width, (c + 1) * width))
    for (let k = 0; k < width; k++)
      sums[c * width + k] = length > 0 ? sums[c * width + k]! / length : before[c * width + k]!
  }
  return sums
}

/** A position of a known text: where it saturates, and at each layer the clusters of its dominant sub-updates, in order. */
export interface Known {
  readonly saturates: number
  readonly clusters: readonly Int32Array[]
}

export class SaturationRule {
  readonly #layers: number
  /** At each layer, the known positions by where they saturate. */
  readonly #known: ReadonlyMap<number, readonly Int32Array[]>[]

  /** Every known position has the same number of layers and of clusters. */
  constructor(known: readonly Known[]) {
    if (known.length === 0) throw new Error('saturation: no position is known')
    this.#layers = known[0]!.clusters.length
    this.#known = Array.from({ length: this.#layers }, (_, layer) => {
      const groups = new Map<number, Int32Array[]>()
      for (const { saturates, clusters } of known)
        if (saturates >= layer) groups.set(saturates, [...(groups.get(saturates) ?? []), clusters[layer]!])
      return groups
    })
  }

  /** Whether to stop after a layer, by the clusters of its dominant sub-updates. After the last one there is nothing to skip. */
  exits(layer: number, clusters: ArrayLike<number>): boolean {
    const groups = this.#known[layer]
    if (!groups) throw new RangeError(`layer ${layer}: the rule knows ${this.#layers} layers`)
    if (layer === this.#layers - 1) return true
    const here = groups.get(layer)
    if (!here) return false
    const own = matches(here, clusters)
    for (const [saturates, others] of groups) {
      if (saturates === layer) continue
      const later = matches(others, clusters)
      if (own.best <= later.best || own.mean <= later.mean) return false
    }
    return true
  }

  /** The layer after which a position would exit. */
  exitLayer(clusters: readonly ArrayLike<number>[]): number {
    let layer = 0
    while (!this.exits(layer, clusters[layer]!)) layer++
    return layer
  }
}

/** Places with the same cluster: the most and the mean over known positions. */
function matches(known: readonly Int32Array[], clusters: ArrayLike<number>): { best: number; mean: number } {
  let [best, sum] = [0, 0]
  for (const one of known) {
    let same = 0
    for (let i = 0; i < one.length; i++) if (one[i] === clusters[i]) same++
    best = Math.max(best, same)
    sum += same
  }
  return { best, mean: sum / known.length }
}
