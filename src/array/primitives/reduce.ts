/** Primitives that combine the elements along axes. */
import { type Shape, showShape, subtractDims } from '../dim.ts'
import { type Aval, type NdArray, type Primitive, ShapeError } from '../op.ts'
import type { Tensor } from '../tensor.ts'
import { build, read, unravel } from './reference.ts'

/** Axes are normalised (0 to rank - 1, ascending) before they get here. */
export interface ReduceAttributes {
  readonly axes: readonly number[]
  /** Keep reduced axes with size 1. */
  readonly keep: boolean
}

const reducedShape = (shape: Shape, { axes, keep }: ReduceAttributes): Shape =>
  keep ? shape.map((dim, i) => (axes.includes(i) ? 1 : dim)) : shape.filter((_, i) => !axes.includes(i))

const withReducedAxes = (x: Tensor, shape: Shape, axes: readonly number[]): Tensor =>
  x.reshape(shape.map((dim, i) => (axes.includes(i) ? 1 : dim)))

function reduce(
  name: string,
  onnx: string,
  combine: (a: number, b: number) => number,
  start: number,
  derivative: (g: Tensor, x: Tensor, y: Tensor) => Tensor,
): Primitive<ReduceAttributes> {
  return {
    name,
    shape([x], attributes) {
      if (x!.dtype === 'bool') throw new ShapeError(`${name}: takes numbers, got bool; cast it`)
      return { shape: reducedShape(x!.shape, attributes), dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x], outputs: [y], attributes: { axes } }) => [
      g && derivative(withReducedAxes(g, x!.shape, axes), x!, withReducedAxes(y!, x!.shape, axes)),
    ],
    onnx: (e, [x], { attributes: { axes, keep } }) => [
      axes.length === 0 ? x! : e.node(onnx, [x!, e.dims(axes)], { keepdims: Number(keep) }),
    ],
    evaluate([x], { axes }, [out]) {
      const kept = x!.shape.map((dim, i) => (axes.includes(i) ? 1 : dim))
      const result = build(kept, () => start)
      x!.data.forEach((value, i) => {
        const at = unravel(i, x!.shape).map((a, axis) => (axes.includes(axis) ? 0 : a))
        const to = at.reduce((sum, a, axis) => sum * kept[axis]! + a, 0)
        result.data[to] = combine(result.data[to]!, value)
      })
      return [{ shape: out!.shape, data: result.data }]
    },
  }
}

/** The cotangent goes to the elements that attain the extremum, shared equally among ties. */
function toExtrema(g: Tensor, x: Tensor, y: Tensor): Tensor {
  const chosen = x.equal(y).cast(g.dtype)
  const axes = x.shape.flatMap((_, i) => (g.shape[i] === 1 ? [i] : []))
  return chosen.mul(g.div(chosen.sum(axes, { keep: true })))
}

const oneAxis = (x: Aval, axis: number, name: string): void => {
  if (axis < 0 || axis >= x.shape.length)
    throw new ShapeError(`${name}: axis ${axis} outside shape ${showShape(x.shape)}`)
}

/** Indices along `axis` in descending order of value; the lower index wins a tie, as in ONNX. */
function order(x: NdArray, axis: number, at: readonly number[]): number[] {
  const value = (i: number) => read(x, at.with(axis, i))
  return Array.from({ length: x.shape[axis]! }, (_, i) => i).sort((a, b) => value(b) - value(a) || a - b)
}

export const reductions = {
  sum: reduce(
    'sum',
    'ReduceSum',
    (a, b) => a + b,
    0,
    (g, x) => g.broadcastTo(x.shape),
  ),
  max: reduce('max', 'ReduceMax', Math.max, Number.NEGATIVE_INFINITY, toExtrema),
  min: reduce('min', 'ReduceMin', Math.min, Number.POSITIVE_INFINITY, toExtrema),
  /** The derivative divides by the elements: it is not defined (NaN) where one of them is 0. */
  prod: reduce(
    'prod',
    'ReduceProd',
    (a, b) => a * b,
    1,
    (g, x, y) => g.mul(y).div(x),
  ),

  argMax: {
    name: 'argMax',
    shape([x], { axis }) {
      oneAxis(x!, axis, 'argMax')
      if (x!.dtype === 'bool') throw new ShapeError('argMax: takes numbers, got bool; cast it')
      if (x!.shape[axis] === 0)
        throw new ShapeError(`argMax: axis ${axis} of ${showShape(x!.shape)} is empty`)
      return { shape: x!.shape.filter((_, i) => i !== axis), dtype: 'i32' }
    },
    grad: 'none',
    onnx: (e, [x], { attributes: { axis } }) => [
      e.node('Cast', [e.node('ArgMax', [x!], { axis, keepdims: 0 })], { to: { dtype: 'i32' } }),
    ],
    evaluate: ([x], { axis }, [out]) => [
      build(out!.shape, (at) => order(x!, axis, at.toSpliced(axis, 0, 0))[0]!),
    ],
  } satisfies Primitive<{ axis: number }>,

  /** The k largest along an axis, descending: values and i32 indices. */
  topK: {
    name: 'topK',
    shape([x], { axis, k }) {
      oneAxis(x!, axis, 'topK')
      if (x!.dtype === 'bool') throw new ShapeError('topK: takes numbers, got bool; cast it')
      const size = x!.shape[axis]!
      if (!Number.isInteger(k) || k < 1 || (typeof size === 'number' && k > size))
        throw new ShapeError(`topK: k = ${k} of ${size} elements in ${showShape(x!.shape)}`)
      const shape = x!.shape.with(axis, k)
      return [
        { shape, dtype: x!.dtype },
        { shape, dtype: 'i32' },
      ]
    },
    conditions([x], { axis, k }) {
      const text = `topK: k = ${k} of axis ${axis} of ${showShape(x!.shape)}`
      return x!.shape.map((dim, i) => [subtractDims(dim, i === axis ? k : dim === 0 ? 0 : 1), text] as const)
    },
    grad: ([g], { inputs: [x], outputs: [, indices], attributes: { axis } }) => [
      g && x!.zero().broadcastTo(x!.shape).scatterElements(indices!, g, axis, 'add'),
    ],
    onnx(e, [x], { inputs: [input], outputs, attributes: { axis, k } }) {
      // ONNX Runtime 1.30 divides by zero, and ends the process, where there are no rows to look through.
      if (input!.shape.includes(0))
        return outputs.map(({ shape, dtype }) => e.node('Expand', [e.scalar(0, dtype), e.dims(shape)]))
      const [values, indices] = e.nodes('TopK', [x!, e.dims([k])], 2, { axis, largest: 1, sorted: 1 })
      return [values!, e.node('Cast', [indices!], { to: { dtype: 'i32' } })]
    },
    evaluate([x], { axis }, [out]) {
      const chosen = build(out!.shape, (at) => order(x!, axis, at)[at[axis]!]!)
      return [build(out!.shape, (at) => read(x!, at.with(axis, read(chosen, at)))), chosen]
    },
  } satisfies Primitive<{ axis: number; k: number }>,

  cumSum: {
    name: 'cumSum',
    shape([x], { axis }) {
      oneAxis(x!, axis, 'cumSum')
      if (x!.dtype === 'bool') throw new ShapeError('cumSum: takes numbers, got bool; cast it')
      return x!
    },
    grad: ([g], { attributes: { axis, exclusive, reverse } }) => [
      g?.cumSum(axis, { exclusive, reverse: !reverse }),
    ],
    onnx: (e, [x], { attributes: { axis, exclusive, reverse } }) => [
      e.node('CumSum', [x!, e.dims([axis])], { exclusive: Number(exclusive), reverse: Number(reverse) }),
    ],
    evaluate: ([x], { axis, exclusive, reverse }) => [
      build(x!.shape, (at) => {
        let sum = 0
        for (let i = 0; i < x!.shape[axis]!; i++) {
          const before = reverse ? i > at[axis]! : i < at[axis]!
          if (before || (i === at[axis]! && !exclusive)) sum += read(x!, at.with(axis, i))
        }
        return sum
      }),
    ],
  } satisfies Primitive<{ axis: number; exclusive: boolean; reverse: boolean }>,
}
