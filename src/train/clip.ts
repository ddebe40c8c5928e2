/** Gradients held to a largest norm (Pascanu et al. 2013), as torch.nn.utils.clip_grad_norm_ does it. */
import { leaves, mapTree, scalar, type Tensor } from '../array/index.ts'

/** √ of the sum of squares of all leaves, an f32 scalar. */
export function globalNorm(grads: unknown): Tensor {
  const squares = leaves(grads).map(([, g]) => g.mul(g).sum())
  return squares.reduce((sum, square) => sum.add(square), scalar(0, 'f32')).sqrt()
}

/** The gradients times min(1, most / norm), and their norm before that. */
export function clipByGlobalNorm<T>(grads: T, most: number): { grads: T; norm: Tensor } {
  const norm = globalNorm(grads)
  const factor = scalar(most, 'f32').div(norm.add(1e-6)).minimum(1)
  return { grads: mapTree(grads, (g) => g.mul(factor)) as T, norm }
}
