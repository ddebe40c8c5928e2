/** Functions of neural networks. Each has a composed body; providers with a fused operator use that instead. */
import { type Dim, sameShape } from './dim.ts'
import { isFloat } from './dtype.ts'
import { fused } from './fused.ts'
import { type Emitter, ShapeError, type Value } from './op.ts'
import { iota, size, type Tensor } from './tensor.ts'

const softmaxCall = fused<{ axis: number }>({
  name: 'softmax',
  body: ([x], { axis }) => {
    const e = x!.sub(x!.max(axis, { keep: true }).stopGradient()).exp()
    return [e.div(e.sum(axis, { keep: true }))]
  },
  grad: ([g], { outputs: [y], attributes: { axis } }) => {
    const gy = g!.mul(y!)
    return [gy.sub(y!.mul(gy.sum(axis, { keep: true })))]
  },
  onnx: (e, [x], { attributes: { axis } }) => [e.node('Softmax', [x!], { axis })],
})

/** exp(x) normalised to sum 1 along an axis. */
export const softmax = (x: Tensor, axis = -1): Tensor => softmaxCall([x], { axis: x.axis(axis) })[0]!

const logSoftmaxCall = fused<{ axis: number }>({
  name: 'logSoftmax',
  body: ([x], { axis }) => {
    const shifted = x!.sub(x!.max(axis, { keep: true }).stopGradient())
    return [shifted.sub(shifted.exp().sum(axis, { keep: true }).log())]
  },
  grad: ([g], { outputs: [y], attributes: { axis } }) => [g!.sub(y!.exp().mul(g!.sum(axis, { keep: true })))],
  onnx: (e, [x], { attributes: { axis } }) => [e.node('LogSoftmax', [x!], { axis })],
})

/** Log-probabilities in nats. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => logSoftmaxCall([x], { axis: x.axis(axis) })[0]!

const crossEntropyCall = fused<object>({
  name: 'crossEntropy',
  body: ([logits, targets]) => {
    const logp = logSoftmax(logits!)
    return [logp.gatherElements(targets!.expandDims(-1), -1).reshape(targets!.shape).neg(), logp]
  },
  // d loss / d logits = softmax - onehot(target): one pass over the vocabulary instead of five.
  grad: ([g, gLogp], { inputs: [, targets], outputs: [, logp] }) => {
    let dLogits: Tensor | undefined
    if (g) {
      const column = g.expandDims(-1)
      dLogits = logp!.exp().mul(column).scatterElements(targets!.expandDims(-1), column.neg(), -1, 'add')
    }
    if (gLogp) {
      const through = gLogp.sub(logp!.exp().mul(gLogp.sum(-1, { keep: true })))
      dLogits = dLogits ? dLogits.add(through) : through
    }
    return [dLogits, undefined]
  },
})

/** -log softmax(logits)[target] for each position, in nats. logits [..., vocab], targets [...] i32. */
export const crossEntropy = (logits: Tensor, targets: Tensor): Tensor =>
  crossEntropyCall([logits, targets], {})[0]!

/**
 * Whether norms give their statistics, which their gradients need. On WebGPU ONNX Runtime 1.30 leaves that output
 * unwritten: there a norm is composed of single operations.
 */
const givesStatistics = ({ provider }: Emitter): boolean => provider !== 'webgpu'

const layerNormCall = fused<{ epsilon: number }>({
  name: 'layerNorm',
  body: ([x, weight, bias], { epsilon }) => {
    const mean = x!.mean(-1, { keep: true })
    const centred = x!.sub(mean)
    const inverse = centred.mul(centred).mean(-1, { keep: true }).add(epsilon).sqrt().reciprocal()
    const scaled = centred.mul(inverse).mul(weight!)
    return [bias ? scaled.add(bias) : scaled, mean, inverse]
  },
  // The statistics have cotangents only in derivatives of the derivative.
  grad: ([g, gMean, gInverse], { inputs: [x, weight, bias], outputs: [, mean, inverse] }) => {
    const normal = x!.sub(mean!).mul(inverse!)
    const scaled = g?.mul(weight!)
    const dx = scaled
      ?.sub(scaled.mean(-1, { keep: true }))
      .sub(normal.mul(scaled.mul(normal).mean(-1, { keep: true })))
      .mul(inverse!)
    const throughMean = gMean && perElement(gMean, x!).broadcastTo(x!.shape)
    return [
      total(dx, throughMean, gInverse && throughInverse(gInverse, x!, normal, inverse!)),
      g?.mul(normal).sumTo(weight!.shape),
      bias && g?.sumTo(bias.shape),
    ]
  },
  // In double precision the operator would keep its statistics in single.
  onnx: (e, inputs, { inputs: [x], attributes: { epsilon } }) =>
    x!.dtype === 'f32' && givesStatistics(e)
      ? e.nodes('LayerNormalization', inputs, 3, { axis: -1, epsilon: { float: epsilon } })
      : undefined,
})

/** A cotangent of a mean over the last axis of `x`, as that of each element. */
function perElement(g: Tensor, x: Tensor): Tensor {
  const count = x.shape.at(-1)!
  return typeof count === 'number' ? g.mul(1 / count) : g.div(size(count, g.dtype))
}

/** Cotangent of x from that of r = 1 / sqrt(mean(c²) + epsilon), where c is x or x - mean and normal = c r. */
const throughInverse = (g: Tensor, x: Tensor, normal: Tensor, inverse: Tensor): Tensor =>
  perElement(g.mul(inverse).mul(inverse).neg(), x).mul(normal)

const total = (...terms: (Tensor | undefined)[]): Tensor | undefined =>
  terms.reduce((sum, term) => (sum && term ? sum.add(term) : (sum ?? term)))

/** (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis (Ba et al. 2016). */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor | undefined, epsilon: number): Tensor {
  return layerNormCall(bias ? [x, weight, bias] : [x, weight], { epsilon })[0]!
}

const rmsNormCall = fused<{ epsilon: number }>({
  name: 'rmsNorm',
  body: ([x, weight], { epsilon }) => {
    const inverse = x!.mul(x!).mean(-1, { keep: true }).add(epsilon).sqrt().reciprocal()
    return [x!.mul(inverse).mul(weight!), inverse]
  },
  grad: ([g, gInverse], { inputs: [x, weight], outputs: [, inverse] }) => {
    const normal = x!.mul(inverse!)
    const scaled = g?.mul(weight!)
    const dx = scaled?.sub(normal.mul(scaled.mul(normal).mean(-1, { keep: true }))).mul(inverse!)
    const through = gInverse && throughInverse(gInverse, x!, normal, inverse!)
    return [total(dx, through), g?.mul(normal).sumTo(weight!.shape)]
  },
  onnx: (e, inputs, { inputs: [x], attributes: { epsilon } }) =>
    x!.dtype === 'f32' && e.provider !== 'onnx' && givesStatistics(e)
      ? e.nodes('SimplifiedLayerNormalization', inputs, 2, { axis: -1, epsilon: { float: epsilon } })
      : undefined,
})

/** x / sqrt(mean(x²) + epsilon) * weight over the last axis (Zhang and Sennrich 2019). */
export const rmsNorm = (x: Tensor, weight: Tensor, epsilon: number): Tensor =>
  rmsNormCall([x, weight], { epsilon })[0]!

/** The operator that adds two arrays and normalises the sum; it takes two or three axes and broadcasts nothing. */
function skipNorm(
  name: string,
  e: Emitter,
  inputs: readonly Value[],
  [x, update]: readonly Tensor[],
  epsilon: number,
): Value[] | undefined {
  if (
    e.provider === 'onnx' ||
    !givesStatistics(e) ||
    x!.dtype !== 'f32' ||
    x!.rank < 2 ||
    x!.rank > 3 ||
    !sameShape(x!.shape, update!.shape)
  )
    return undefined
  const attributes = { epsilon: { float: epsilon } }
  const [normal, , , sum] = e.nodes(name, inputs, 4, attributes, 'com.microsoft')
  return [normal!, sum!]
}

const addRmsNormCall = fused<{ epsilon: number }>({
  name: 'addRmsNorm',
  body: ([x, update, weight], { epsilon }) => {
    const sum = x!.add(update!)
    return [rmsNorm(sum, weight!, epsilon), sum]
  },
  onnx: (e, values, { inputs, attributes: { epsilon } }) =>
    skipNorm('SkipSimplifiedLayerNormalization', e, values, inputs, epsilon),
})

/** x + update, and its RMS norm. */
export function addRmsNorm(
  x: Tensor,
  update: Tensor,
  weight: Tensor,
  epsilon: number,
): { sum: Tensor; normal: Tensor } {
  const [normal, sum] = addRmsNormCall([x, update, weight], { epsilon })
  return { sum: sum!, normal: normal! }
}

const addLayerNormCall = fused<{ epsilon: number }>({
  name: 'addLayerNorm',
  body: ([x, update, weight, bias], { epsilon }) => {
    const sum = x!.add(update!)
    return [layerNorm(sum, weight!, bias, epsilon), sum]
  },
  onnx: (e, values, { inputs, attributes: { epsilon } }) =>
    skipNorm('SkipLayerNormalization', e, values, inputs, epsilon),
})

/** x + update, and its layer norm. */
export function addLayerNorm(
  x: Tensor,
  update: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  epsilon: number,
): { sum: Tensor; normal: Tensor } {
  const inputs = bias ? [x, update, weight, bias] : [x, update, weight]
  const [normal, sum] = addLayerNormCall(inputs, { epsilon })
  return { sum: sum!, normal: normal! }
}

// x Φ(x) with Φ approximated: 0.5 (1 + tanh u) = sigmoid(2u), 2u = x (a + b x²).
const a = 2 * Math.sqrt(2 / Math.PI)
const b = a * 0.044715

const geluCall = fused<{ approximate: 'none' | 'tanh' }>({
  name: 'gelu',
  body: ([x], { approximate }) => [
    approximate === 'tanh'
      ? x!.mul(x!.mul(x!.mul(x!).mul(b).add(a)).sigmoid())
      : x!.mul(0.5).mul(x!.mul(Math.SQRT1_2).erf().add(1)),
  ],
  grad: ([g], { inputs: [x], outputs: [y], attributes: { approximate } }) => {
    const square = x!.mul(x!)
    if (approximate === 'tanh') {
      const gate = x!.mul(square.mul(b).add(a)).sigmoid()
      return [g!.mul(gate.add(y!.sub(y!.mul(gate)).mul(square.mul(3 * b).add(a))))]
    }
    const density = square
      .mul(-0.5)
      .exp()
      .mul(x!)
      .mul(1 / Math.sqrt(2 * Math.PI))
    return [g!.mul(x!.mul(Math.SQRT1_2).erf().mul(0.5).add(0.5).add(density))]
  },
  onnx: (e, [x], { inputs: [input], attributes: { approximate } }) =>
    input!.dtype === 'f64' ? undefined : [e.node('Gelu', [x!], { approximate })],
})

/** Gaussian error linear unit, exact or with GPT-2's tanh approximation (Hendrycks and Gimpel 2016). */
export const gelu = (x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor =>
  geluCall([x], { approximate })[0]!

const siluCall = fused<object>({
  name: 'silu',
  body: ([x]) => [x!.mul(x!.sigmoid())],
  grad: ([g], { inputs: [x], outputs: [y] }) => {
    const gate = x!.sigmoid()
    return [g!.mul(gate.add(y!.sub(y!.mul(gate))))]
  },
  onnx: (e, [x], { inputs: [input] }) =>
    e.provider === 'cpu' && input!.dtype === 'f32'
      ? [e.node('QuickGelu', [x!], { alpha: { float: 1 } }, 'com.microsoft')]
      : undefined,
})

/** x sigmoid(x), also called swish. */
export const silu = (x: Tensor): Tensor => siluCall([x], {})[0]!

const softplusCall = fused<object>({
  name: 'softplus',
  // Without overflow: log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)).
  body: ([x]) => [x!.maximum(0).add(x!.abs().neg().exp().add(1).log())],
  grad: ([g], { inputs: [x] }) => [g!.mul(x!.sigmoid())],
  onnx: (e, [x], { inputs: [input] }) => (input!.dtype === 'f32' ? [e.node('Softplus', [x!])] : undefined),
})

/** log(1 + exp(x)) */
export const softplus = (x: Tensor): Tensor => softplusCall([x], {})[0]!

export const relu = (x: Tensor): Tensor => x.maximum(0)

/** 1 at the index, 0 elsewhere, along a new last axis of size `depth`. */
export function oneHot(indices: Tensor, depth: Dim, dtype: Tensor['dtype'] = 'f32'): Tensor {
  if (isFloat(indices.dtype)) throw new ShapeError(`oneHot: takes integers, got ${indices.dtype}`)
  return indices.expandDims(-1).equal(iota(depth, indices.dtype)).cast(dtype)
}
