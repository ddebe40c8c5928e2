/**
 * Products with few features in each row.
 *
 * Of 5120 features 32 are active, so what the decoder does in a dense product is 160 times what is needed. Gathering
 * their rows of W_dec and multiplying with those is three times as fast as the dense product, and the cotangents of
 * the features come from the same rows. The gradient of W_dec is a sum of rows by index, which ONNX Runtime adds one
 * by one; the dense product over all rows is faster there.
 */
import { customGradient, type Tensor } from '../../array/index.ts'

const product = customGradient(
  'sparseProduct',
  (values, indices, weight) => {
    const [batch, k] = values!.shape as [number, number]
    const rows = weight!.gather(indices!)
    return [values!.reshape([batch, 1, k]).matmul(rows).reshape([batch, weight!.shape[1]!]), rows]
  },
  ([g], { inputs: [values, indices, weight], outputs: [, rows] }) => {
    if (!g) return [undefined, undefined, undefined]
    const [batch, k] = values!.shape as [number, number]
    const dense = densified(values!, indices!, weight!.shape[0] as number)
    return [
      rows!.matmul(g.expandDims(-1)).reshape([batch, k]),
      undefined,
      dense.matmul(g, { transposeA: true }),
    ]
  },
)

/** Σⱼ values[b, j] · weight[indices[b, j]]: values [batch, k], indices i32 [batch, k], weight [n, width] -> [batch, width]. */
export const sparseProduct = (values: Tensor, indices: Tensor, weight: Tensor): Tensor =>
  product(values, indices, weight)[0]!

/** [batch, n] with the values at their indices and 0 elsewhere. */
export const densified = (values: Tensor, indices: Tensor, n: number): Tensor =>
  values.zero().broadcastTo([values.shape[0]!, n]).scatterElements(indices, values, 1, 'set')

/** Rows of a batch in which each of `n` features is active (above 0), f32 [n]; values and indices [batch, k]. */
export function activeCounts(values: Tensor, indices: Tensor, n: number): Tensor {
  const active = values.greater(0).cast('f32').reshape([-1])
  return active
    .zero()
    .broadcastTo([n])
    .scatterElements(indices.reshape([-1]), active, 0, 'add')
}
