/**
 * Layers whose activations are alike enough for one SAE (Ghilardi, Belotti, Molinari 2024, "Efficient Training of Sparse
 * Autoencoders for Large Language Models via Layer Groups").
 *
 *   d(p, q) = mean over tokens of arccos(x_p · x_q / ‖x_p‖ ‖x_q‖) / π         in [0, 1]
 *
 * Beginning with single layers, the two groups that are closest are joined until the wanted number is left; the
 * distance of two groups is that of their two most distant layers (complete linkage). AMAD is the mean over groups of
 * the largest distance within.
 *
 * What differs: only neighbouring groups are joined, so groups are contiguous by construction (in the paper they come
 * out so); distances are over all tokens (there, the last of each text) and of activations as they are (there, each
 * is centred by the mean of its own numbers, of which an RMSNorm model knows nothing).
 */
import { type Tensor, tensor } from '../../array/index.ts'
import type { ActivationSource } from '../activations/index.ts'

export interface Distances {
  /** Names of the layers' sites, in order. */
  readonly sites: readonly string[]
  /** [layers, layers] row-major, symmetric, 0 on the diagonal. */
  readonly values: Float64Array
  /** Tokens that they are means over. */
  readonly tokens: number
}

/** Mean angular distances of a source's sites, over its first chunks up to `most` tokens. */
export async function angularDistances(source: ActivationSource, most = 20_000): Promise<Distances> {
  const { sites, model } = source.options
  const [layers, sums] = [sites.length, new Float64Array(sites.length ** 2)]
  const program = model.engine.jit(
    (all: Readonly<Record<string, Tensor>>) => {
      const [first, ...rest] = sites.map((site) => all[site]!.expandDims(1))
      const stacked = first!.concat(rest, 1)
      const unit = stacked.div(stacked.mul(stacked).sum(-1, { keep: true }).sqrt().maximum(1e-12))
      return unit.matmul(unit, { transposeB: true }) // [rows, layers, layers]
    },
    { name: 'angles', axes: [['rows', null]] },
  )
  let tokens = 0
  try {
    for (let i = 0; i < source.chunks && tokens < most; i++) {
      const { count, rows } = await source.at(i)
      if (count === 0) continue
      const inputs = Object.fromEntries(
        sites.map((site) => [site, tensor(rows[site]!, [count, rows[site]!.length / count])]),
      )
      const found = (await (await program(inputs)).load()) as Float32Array
      for (let at = 0; at < found.length; at++)
        sums[at % sums.length]! += Math.acos(Math.max(-1, Math.min(1, found[at]!))) / Math.PI
      tokens += count
    }
  } finally {
    program.dispose()
  }
  if (tokens === 0) throw new Error('angularDistances: there are no tokens')
  const values = sums.map((sum, at) => (at % (layers + 1) === 0 ? 0 : sum / tokens))
  return { sites, values, tokens }
}

/** Layers by number, in contiguous groups in order. */
export type Groups = readonly (readonly number[])[]

/** Joins neighbours until `count` groups are left. `distances` [layers, layers]. */
export function layerGroups(distances: ArrayLike<number>, layers: number, count: number): Groups {
  if (distances.length !== layers ** 2)
    throw new RangeError(`layerGroups: ${distances.length} distances of ${layers} layers`)
  if (!Number.isInteger(count) || count < 1 || count > layers)
    throw new RangeError(`layerGroups: ${count} groups of ${layers} layers`)
  const groups: number[][] = Array.from({ length: layers }, (_, layer) => [layer])
  while (groups.length > count) {
    let [closest, at] = [Number.POSITIVE_INFINITY, 0]
    for (let i = 0; i + 1 < groups.length; i++) {
      const distance = diameter([...groups[i]!, ...groups[i + 1]!], distances, layers)
      if (distance < closest) [closest, at] = [distance, i]
    }
    groups.splice(at, 2, [...groups[at]!, ...groups[at + 1]!])
  }
  return groups
}

/** The largest distance within a group. */
function diameter(group: readonly number[], distances: ArrayLike<number>, layers: number): number {
  let largest = 0
  for (const p of group) for (const q of group) largest = Math.max(largest, distances[p * layers + q]!)
  return largest
}

/** Average maximum angular distance: the mean over groups of the largest distance within. */
export const amad = (groups: Groups, distances: ArrayLike<number>, layers: number): number =>
  groups.reduce((sum, group) => sum + diameter(group, distances, layers), 0) / groups.length
