import {
  addLayerNorm,
  addRmsNorm,
  gelu,
  layerNorm,
  relu,
  rmsNorm,
  silu,
  type Tensor,
} from '../../array/index.ts'
import { quantizedMatmul, quantizedRows } from '../../array/quantized.ts'
import type { Activation, DecoderSpec, Linear, Matrix, Norm } from '../spec.ts'

/** x [..., in] times a weight matrix in the given layout: [..., out]. */
export function project(x: Tensor, weight: Matrix, layout: DecoderSpec['layout']): Tensor {
  if ('packed' in weight) return quantizedMatmul(x, weight.packed, weight.scales)
  return x.matmul(weight, { transposeB: layout === 'out-in' })
}

/** Rows of a matrix [rows, width] by index: [..., width]. */
export function lookUp(matrix: Matrix, indices: Tensor, width: number): Tensor {
  return 'packed' in matrix
    ? quantizedRows(matrix.packed, matrix.scales, indices, width)
    : matrix.gather(indices)
}

export function linear(x: Tensor, { weight, bias }: Linear, layout: DecoderSpec['layout']): Tensor {
  const product = project(x, weight, layout)
  return bias ? product.add(bias) : product
}

export function norm(x: Tensor, { weight, bias }: Norm, { kind, epsilon }: DecoderSpec['norm']): Tensor {
  if (kind === 'layer') return layerNorm(x, weight, bias, epsilon)
  if (bias) throw new Error('an RMS norm has no bias')
  return rmsNorm(x, weight, epsilon)
}

/** x + update and its norm, as one operator where the provider has it. */
export function addNorm(
  x: Tensor,
  update: Tensor,
  { weight, bias }: Norm,
  { kind, epsilon }: DecoderSpec['norm'],
): { sum: Tensor; normal: Tensor } {
  return kind === 'layer'
    ? addLayerNorm(x, update, weight, bias, epsilon)
    : addRmsNorm(x, update, weight, epsilon)
}

const activations: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  gelu: (x) => gelu(x),
  'gelu-tanh': (x) => gelu(x, 'tanh'),
  silu,
  relu,
}

export const activate = (x: Tensor, activation: Activation): Tensor => activations[activation](x)
