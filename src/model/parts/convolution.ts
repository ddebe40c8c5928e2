/** Causal convolution of each channel along the tokens, with and without a cache of the last ones. */
import { addDims, concat, type Dim, iota, size, type Tensor } from '../../array/index.ts'

/** What is in front of x [batch, T, channels]: `past` [batch, kernel - 1, channels], or zeros. */
export const withPast = (x: Tensor, kernel: number, past: Tensor | undefined): Tensor =>
  past ? concat([past, x], 1) : x.pad(1, kernel - 1, 0)

/**
 * y_t = bias + Σ_k weight[k] x_{t - kernel + 1 + k}. joined [batch, kernel - 1 + T, channels] from `withPast`, weight
 * [channels, 1, kernel] as in PyTorch, bias [channels]; result [batch, T, channels].
 */
export function causalConvolution(
  joined: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  time: Dim,
): Tensor {
  const [channels, , kernel] = weight.shape as [number, number, number]
  const taps = weight.reshape([channels, kernel])
  const sum = Array.from({ length: kernel }, (_, k) =>
    joined.slice(1, k, addDims(time, k)).mul(taps.slice(1, k, k + 1).reshape([channels])),
  ).reduce((a, b) => a.add(b))
  return bias ? sum.add(bias) : sum
}

/**
 * What the convolution of the next tokens has to see: [batch, kernel - 1, channels], up to the last token of each
 * row, i32 [batch]; up to the end where that is not given.
 */
export function lastInputs(joined: Tensor, kernel: number, last: Tensor | undefined, time: Dim): Tensor {
  if (!last) return joined.slice(1, time)
  const [batch, length, channels] = joined.shape as [Dim, Dim, number]
  // Token t stands at kernel - 1 + t: what ends with the last one begins at last + 1.
  const starts = iota(batch).mul(size(length, 'i32')).add(last).add(1)
  const rows = starts.expandDims(-1).add(iota(kernel - 1))
  return joined.reshape([-1, channels]).gather(rows)
}
