import type { Tensor } from '../../../array/index.ts'

/** Fraction of variance unexplained: ‖error‖² / ‖y − ȳ‖² over the batch; a scalar. */
export function unexplained(error: Tensor, y: Tensor): Tensor {
  const centred = y.sub(y.mean(0, { keep: true }))
  return error.mul(error).sum().div(centred.mul(centred).sum())
}
