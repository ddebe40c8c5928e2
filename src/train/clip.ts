/** The global norm of a tree of gradients, and clipping to a largest one (Pascanu et al. 2013). */
import { leaves, mapTree, scalar, type Tensor } from '../array/index.ts'
import { join } from './joined.ts'

/** √ of the sum of all squares, an f32 scalar. Small leaves are summed as one vector. */
export function globalNorm(grads: unknown): Tensor {
  const { small, large } = join(leaves(grads))
  const parts = [...(small ? [small] : []), ...Object.values(large)]
  const [first, ...rest] = parts.map((part) => part.mul(part).sum())
  return rest.reduce((sum, part) => sum.add(part), first ?? scalar(0)).sqrt()
}

/**
 * Gradients times min(1, max / (norm + 1e-6)), as `torch.nn.utils.clip_grad_norm_`: in one direction, no longer than
 * `max`; and their norm before that. A norm that is no number makes all of them that, as it does there.
 */
export function clipByGlobalNorm<T>(grads: T, max: number): { grads: T; norm: Tensor } {
  if (!(max > 0)) throw new RangeError(`clip: the largest norm must be above 0, got ${max}`)
  const norm = globalNorm(grads)
  const factor = norm.add(1e-6).reciprocal().mul(max).minimum(1)
  return { grads: mapTree(grads, (leaf) => leaf.mul(factor)) as T, norm }
}
