import {
  addLayerNorm,
  addRmsNorm,
  gelu,
  layerNorm,
  relu,
  rmsNorm,
  silu,
  type Tensor,
  tensor,
} from '../../array/index.ts'
import { quantizedMatmul, quantizedRows } from '../../array/quantized.ts'
import type { Activation, DecoderSpec, Linear, Matrix, Norm, NormSpec } from '../spec.ts'

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

/** The weight of a norm as it multiplies: the stored one and its offset, or ones. */
function scaleOf({ weight }: Norm, { offset = 0 }: NormSpec, width: number): Tensor {
  if (!weight) return tensor(new Float32Array(width).fill(1))
  return offset === 0 ? weight : weight.add(offset)
}

/** Normalises the last axis. */
export function norm(x: Tensor, params: Norm, spec: NormSpec): Tensor {
  const weight = scaleOf(params, spec, x.shape.at(-1) as number)
  if (spec.kind === 'layer') return layerNorm(x, weight, params.bias, spec.epsilon)
  if (params.bias) throw new Error('an RMS norm has no bias')
  return rmsNorm(x, weight, spec.epsilon)
}

/** x + update and its norm, as one operator where the provider has it. */
export function addNorm(
  x: Tensor,
  update: Tensor,
  params: Norm,
  spec: NormSpec,
): { sum: Tensor; normal: Tensor } {
  const weight = scaleOf(params, spec, x.shape.at(-1) as number)
  return spec.kind === 'layer'
    ? addLayerNorm(x, update, weight, params.bias, spec.epsilon)
    : addRmsNorm(x, update, weight, spec.epsilon)
}

/** Bounded smoothly: cap tanh(x / cap). */
export const softcap = (x: Tensor, cap: number | undefined): Tensor =>
  cap === undefined ? x : x.div(cap).tanh().mul(cap)

const activations: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  gelu: (x) => gelu(x),
  'gelu-tanh': (x) => gelu(x, 'tanh'),
  silu,
  relu,
}

export const activate = (x: Tensor, activation: Activation): Tensor => activations[activation](x)
