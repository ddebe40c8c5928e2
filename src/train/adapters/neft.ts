/**
 * Neuron-level fine-tuning (Xu et al. 2024, https://arxiv.org/abs/2403.11621): only the neurons that a reference
 * fine-tuning turns furthest are trained.
 *
 *   s = ⟨w, w'⟩ / (‖w‖ ‖w'‖)
 *
 * where w is a neuron (the weights of one output of a matrix in a block) before and w' after the reference run. Of all
 * neurons of the model, the `share` with the smallest s are chosen. Training begins anew at the base model and changes
 * them alone.
 *
 * Instead of masking gradients, the chosen neurons are the parameters and everything else is frozen: all other weights
 * stay as they are to the bit, whatever the optimizer and its decay, and the optimizer has no state for them.
 * `share` 1 trains all matrices of the blocks, not norms, biases and embeddings.
 */
import * as z from 'zod'
import { leaves, mapTree, random, type Tensor, tensor } from '../../array/index.ts'
import { method } from '../../method/index.ts'
import type { DecoderParams, DecoderSpec } from '../../model/spec.ts'
import type { Trainable } from '../trainer.ts'

export const neftSchema = z.strictObject({
  share: z.number().gt(0).max(1).default(0.06).describe('Share of the neurons that are trained'),
})

/** Chosen neurons in rising order, by the path of their matrix. */
export type Neurons = Readonly<Record<string, Int32Array>>
/** By the path of a matrix: its chosen neurons, [count, in], or [in, count] where inputs come first. */
export type NeuronWeights = Readonly<Record<string, Tensor>>

/** The axis of a stored matrix along which its neurons lie. */
const axisOf = ({ layout }: Pick<DecoderSpec, 'layout'>): 0 | 1 => (layout === 'out-in' ? 0 : 1)

/** The matrices in the blocks, by their path. Throws for quantised ones, which cannot be trained. */
function matrices(params: DecoderParams): [path: string, leaf: Tensor][] {
  const found = leaves({ blocks: params.blocks })
  for (const [path, leaf] of found)
    if (leaf.dtype !== 'f32') throw new Error(`neft: '${path}' is ${leaf}; only f32 weights can be trained`)
  return found.filter(([path, leaf]) => leaf.rank === 2 && path.endsWith('.weight'))
}

/** The cosine of each neuron of `a` [rows, columns] with its like in `b`; 1 where both are zero. */
export function cosines(a: Tensor, b: Tensor, axis: 0 | 1): Float64Array {
  const [rows, columns] = a.sizes as [number, number]
  const [x, y] = [a.data as Float32Array, b.data as Float32Array]
  const count = axis === 0 ? rows : columns
  const [xy, xx, yy] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)]
  for (let i = 0; i < x.length; i++) {
    const neuron = axis === 0 ? Math.floor(i / columns) : i % columns
    xy[neuron]! += x[i]! * y[i]!
    xx[neuron]! += x[i]! * x[i]!
    yy[neuron]! += y[i]! * y[i]!
  }
  return xy.map((value, i) => (xx[i] === 0 && yy[i] === 0 ? 1 : value / (Math.sqrt(xx[i]! * yy[i]!) || 1)))
}

/** The `share` of all neurons with the lowest scores, at least one. */
function lowest(scores: readonly (readonly [path: string, scores: Float64Array])[], share: number): Neurons {
  const all = scores.flatMap(([path, list]) => Array.from(list, (score, neuron) => ({ path, neuron, score })))
  const count = Math.max(1, Math.round(share * all.length))
  const chosen = new Map<string, number[]>()
  for (const { path, neuron } of all.sort((a, b) => a.score - b.score).slice(0, count))
    chosen.set(path, [...(chosen.get(path) ?? []), neuron])
  return Object.fromEntries([...chosen].map(([path, list]) => [path, Int32Array.from(list).sort()]))
}

/** Neurons that fine-tuning from `before` to `after` has turned furthest. */
export function turnedNeurons(
  spec: Pick<DecoderSpec, 'layout'>,
  before: DecoderParams,
  after: DecoderParams,
  { share }: z.output<typeof neftSchema>,
): Neurons {
  const others = new Map(matrices(after))
  return lowest(
    matrices(before).map(([path, leaf]) => [path, cosines(leaf, others.get(path)!, axisOf(spec))]),
    share,
  )
}

/** As many neurons by lot: what a choice is compared with. */
export function randomNeurons(
  spec: Pick<DecoderSpec, 'layout'>,
  params: DecoderParams,
  { share }: z.output<typeof neftSchema>,
  seed: number,
): Neurons {
  const uniform = random.generator(seed)
  return lowest(
    matrices(params).map(([path, leaf]) => [
      path,
      new Float64Array(leaf.sizes[axisOf(spec)]!).map(() => uniform()),
    ]),
    share,
  )
}

interface Around {
  readonly base: DecoderParams
  readonly places: Readonly<Record<string, Tensor>>
}

/** The chosen neurons as what is trained, within a model that stays as it is. */
export function neuronTrainable(
  spec: Pick<DecoderSpec, 'layout'>,
  base: DecoderParams,
  neurons: Neurons,
): Trainable<NeuronWeights, Around, DecoderParams> {
  const axis = axisOf(spec)
  const known = new Map(matrices(base))
  const entries = Object.entries(neurons).map(([path, rows]) => {
    const matrix = known.get(path)
    if (!matrix) throw new Error(`neft: there is no matrix '${path}'`)
    return { path, rows, weights: take(matrix, rows, axis) }
  })
  return {
    params: Object.fromEntries(entries.map(({ path, weights }) => [path, weights])),
    frozen: { base, places: Object.fromEntries(entries.map(({ path, rows }) => [path, tensor(rows)])) },
    assemble: (weights, { base, places }) =>
      mapTree(base, (leaf: Tensor, path) => {
        const own = weights[path]
        return own ? leaf.scatter(places[path]!, own, axis, 'set') : leaf
      }) as DecoderParams,
  }
}

/** Rows (axis 0) or columns (axis 1) of a host matrix. */
function take(matrix: Tensor, chosen: Int32Array, axis: 0 | 1): Tensor {
  const [rows, columns] = matrix.sizes as [number, number]
  const data = matrix.data as Float32Array
  const shape = axis === 0 ? [chosen.length, columns] : [rows, chosen.length]
  const taken = new Float32Array(shape[0]! * shape[1]!)
  for (let i = 0; i < shape[0]!; i++)
    for (let j = 0; j < shape[1]!; j++)
      taken[i * shape[1]! + j] =
        axis === 0 ? data[chosen[i]! * columns + j]! : data[i * columns + chosen[j]!]!
  return tensor(taken, shape)
}

export default method({
  id: 'neft',
  title: 'Neuron-level fine-tuning',
  socket: 'adapter',
  paper: 199,
  source: 'Xu et al. 2024, https://arxiv.org/abs/2403.11621',
  summary: 'Only the neurons that a reference fine-tuning turns furthest are trained.',
  options: neftSchema,
  make: (options) => (spec: DecoderSpec, base: DecoderParams, tuned: DecoderParams) =>
    neuronTrainable(spec, base, turnedNeurons(spec, base, tuned, options)),
})
