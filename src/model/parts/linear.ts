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
import type {
  Activation,
  DecoderSpec,
  Linear,
  LinearAdapter,
  LowRank,
  Matrix,
  Norm,
  NormSpec,
} from '../spec.ts'

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

export function linear(x: Tensor, params: Linear, layout: DecoderSpec['layout']): Tensor {
  const product = withoutBias(x, params, layout)
  const bias = biasOf(params)
  return bias ? product.add(bias) : product
}

/** A linear part without its bias: the weight, and what adapts it in the order given. */
export function withoutBias(x: Tensor, params: Linear, layout: DecoderSpec['layout']): Tensor {
  const { weight, adapters = [] } = params
  const products = new Map<Tensor, Tensor>()
  const product = (input: Tensor): Tensor => {
    if (!products.has(input)) products.set(input, project(input, weight, layout))
    return products.get(input)!
  }
  /** With the first `count` adapters. Scaled inputs are those of all adapters before. */
  const adapted = (count: number, input: Tensor): Tensor => {
    const adapter = adapters[count - 1]
    if (!adapter) return product(input)
    if ('inputs' in adapter) return adapted(count - 1, input.mul(factorOf(adapter)))
    const before = adapted(count - 1, input)
    if ('outputs' in adapter) return before.mul(factorOf(adapter))
    const low = input.matmul(adapter.a, { transposeB: true })
    const update = (scale: Tensor): Tensor => low.mul(scale).matmul(adapter.b, { transposeB: true })
    const { scale, strength } = adapter
    if (!adapter.magnitude) return before.add(update(scale.mul(strength)))
    const growth = adapter.magnitude.div(rowNorms(weight, adapter, layout).stopGradient())
    return before.add(
      growth
        .sub(1)
        .mul(product(input))
        .add(growth.mul(update(scale)))
        .mul(strength),
    )
  }
  return adapted(adapters.length, x)
}

/** 1 + strength (vector - 1) */
const factorOf = (adapter: Exclude<LinearAdapter, LowRank>): Tensor =>
  ('inputs' in adapter ? adapter.inputs : adapter.outputs).sub(1).mul(adapter.strength).add(1)

/** The bias of a linear part as it is added, after all that scales its outputs. */
export const biasOf = ({ bias, adapters = [] }: Linear): Tensor | undefined =>
  bias && adapters.reduce((sum, part) => ('outputs' in part ? sum.mul(factorOf(part)) : sum), bias)

/** Length of each row of W + scale b a, [out]. DoRA holds it fixed in the gradient (its section 4.3). */
export function rowNorms(weight: Matrix, { a, b, scale }: LowRank, layout: DecoderSpec['layout']): Tensor {
  const sum = plain(weight).add(lowRankProduct(a, b, layout).mul(scale))
  return sum
    .mul(sum)
    .sum(layout === 'out-in' ? 1 : 0)
    .sqrt()
}

/** b a in the layout of the weights. */
export const lowRankProduct = (a: Tensor, b: Tensor, layout: DecoderSpec['layout']): Tensor =>
  layout === 'out-in' ? b.matmul(a) : a.matmul(b, { transposeA: true, transposeB: true })

/** A matrix that is not quantised. */
export function plain(matrix: Matrix): Tensor {
  if ('packed' in matrix)
    throw new Error('DoRA needs the numbers of the weights: merge the adapter before they are quantised')
  return matrix
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
