/**
 * A steer of one model for another (Han et al. 2024, section on transfer; `steer_transfer.py`): with the output
 * embeddings of tokens that both have, E_A [n, width of A] and E_B [n, width of B],
 *
 *   H = argmin Σ ‖E_B H − E_A‖²,  rows of H made of length 1,   W_B = H W_A Hᵀ
 *
 * that is, both factors of the steer are multiplied by H [width of B, width of A]. Differs from the authors' code: H is
 * the least squares' own solution, with a small ridge, not Adam's way towards it, and over all shared tokens instead of
 * the first 4000. How far to steer has to be found anew: widths and scales of states differ.
 */
import { type Tensor, tensor } from '../array/index.ts'
import { solveNormal } from '../interp/leastSquares.ts'
import type { Model } from '../model/index.ts'
import type { WordSteer } from './wordSteer.ts'

/** Of the mean of the diagonal, so that directions that few tokens have do not blow up. */
const ridge = 1e-6

/** Embeddings of the shared tokens of two models, a row each. */
export interface SharedTokens {
  /** Token ids in both models. */
  readonly pairs: readonly (readonly [from: number, to: number])[]
}

/** Tokens that both vocabularies have. */
export function sharedTokens(from: Model, to: Model): SharedTokens['pairs'] {
  if (!from.tokenizer || !to.tokenizer)
    throw new Error('both models need a tokenizer: steers move by shared tokens')
  const pairs: [number, number][] = []
  for (let id = 0; id < Math.min(to.tokenizer.vocabSize, to.spec.vocab); id++) {
    const other = from.tokenizer.id(to.tokenizer.token(id))
    if (other !== undefined && other < from.spec.vocab) pairs.push([other, id])
  }
  return pairs
}

/** Output embeddings, [vocab, width]; throws where they are rounded. */
function outputEmbeddings({ params, path }: Model): Tensor {
  const weight = params.head?.weight ?? params.embed
  if ('packed' in weight) throw new Error(`${path}: its embeddings are rounded; open the model unsealed`)
  return weight
}

/** H [width of `to`, width of `from`], row-major. */
export function embeddingMap(
  from: Model,
  to: Model,
  pairs: SharedTokens['pairs'] = sharedTokens(from, to),
): Float64Array {
  const [a, b] = [from.spec.width, to.spec.width]
  if (pairs.length < b)
    throw new Error(`the models share ${pairs.length} tokens, and the map between them needs ${b} at least`)
  const [source, target] = [outputEmbeddings(from), outputEmbeddings(to)]
  if (source.sizes[1] !== a || target.sizes[1] !== b)
    throw new Error('a model whose embeddings are narrower than its states cannot exchange steers')
  const [ours, theirs] = [source.data as Float32Array, target.data as Float32Array]
  const squares = new Float64Array(b * b)
  const products = new Float64Array(b * a)
  for (const [i, j] of pairs)
    for (let row = 0; row < b; row++) {
      const x = theirs[j * b + row]!
      for (let k = 0; k < b; k++) squares[row * b + k]! += x * theirs[j * b + k]!
      for (let k = 0; k < a; k++) products[row * a + k]! += x * ours[i * a + k]!
    }
  return solveNormal(squares, products, b, ridge)
}

/** The steer for another model. */
export function transferSteer(steer: WordSteer, from: Model, to: Model): WordSteer {
  const [steers, width, rank] = steer.projector1.sizes as [number, number, number]
  if (width !== from.spec.width)
    throw new Error(`the steer is for a width of ${width}, the model that it is of has ${from.spec.width}`)
  const target = to.spec.width
  const map = embeddingMap(from, to)
  for (let row = 0; row < target; row++) {
    const own = map.subarray(row * width, (row + 1) * width)
    const length = Math.hypot(...own)
    if (length > 0) for (let i = 0; i < width; i++) own[i]! /= length
  }
  const moved = (projector: Tensor): Tensor => {
    const from = projector.data as Float32Array
    const data = new Float32Array(steers * target * rank)
    for (let k = 0; k < steers; k++)
      for (let row = 0; row < target; row++)
        for (let i = 0; i < width; i++) {
          const factor = map[row * width + i]!
          for (let r = 0; r < rank; r++)
            data[(k * target + row) * rank + r]! += factor * from[(k * width + i) * rank + r]!
        }
    return tensor(data, [steers, target, rank])
  }
  const modelHint = to.path.replace(/^.*[/\\]/, '')
  return { ...steer, projector1: moved(steer.projector1), projector2: moved(steer.projector2), modelHint }
}
