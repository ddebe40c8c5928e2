/** Primitives that rearrange elements without computing on them. */
import {
  addDims,
  type Dim,
  evaluateDim,
  type Shape,
  sameDim,
  showShape,
  sizeOf,
  subtractDims,
} from '../dim.ts'
import { type DType, isFloat } from '../dtype.ts'
import { type Aval, type Primitive, ShapeError } from '../op.ts'
import { broadcastIndex, build, element, read } from './reference.ts'

const noSymbols: ReadonlyMap<string, number> = new Map()
const known = (dim: Dim): number => evaluateDim(dim, noSymbols)
const negative = (dim: Dim): boolean => typeof dim === 'number' && dim < 0

export const layout = {
  reshape: {
    name: 'reshape',
    shape([x], { shape }) {
      if (shape.some(negative) || !sameDim(sizeOf(x!.shape), sizeOf(shape)))
        throw new ShapeError(`reshape: ${showShape(x!.shape)} does not have the size of ${showShape(shape)}`)
      return { shape, dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x] }) => [g?.reshape(x!.shape)],
    onnx(e, [x], { inputs: [input], attributes: { shape } }) {
      // A constant shape lets ONNX Runtime fuse across it: one symbolic axis can be -1.
      const symbolic = shape.flatMap((dim, i) => (typeof dim === 'number' ? [] : [i]))
      if (symbolic.length <= 1 && !shape.includes(0) && !input!.shape.includes(0))
        return [e.node('Reshape', [x!, e.dims(shape.map((dim) => (typeof dim === 'number' ? dim : -1)))])]
      // Without `allowzero` a size of 0 would mean: as in the input.
      return [e.node('Reshape', [x!, e.dims(shape)], { allowzero: 1 })]
    },
    evaluate: ([x], _, [out]) => [{ shape: out!.shape, data: x!.data }],
  } satisfies Primitive<{ shape: Shape }>,

  transpose: {
    name: 'transpose',
    shape([x], { order }) {
      if (order.length !== x!.shape.length || order.some((_, i) => !order.includes(i)))
        throw new ShapeError(`transpose: [${order}] is not an order of the axes of ${showShape(x!.shape)}`)
      return { shape: order.map((axis) => x!.shape[axis]!), dtype: x!.dtype }
    },
    grad: ([g], { attributes: { order } }) => [g?.transpose(order.map((_, i) => order.indexOf(i)))],
    onnx: (e, [x], { attributes: { order } }) => [e.node('Transpose', [x!], { perm: order })],
    evaluate: ([x], { order }, [out]) => [
      build(out!.shape, (at) =>
        read(
          x!,
          order.map((_, i) => at[order.indexOf(i)]!),
        ),
      ),
    ],
  } satisfies Primitive<{ order: readonly number[] }>,

  broadcastTo: {
    name: 'broadcastTo',
    shape([x], { shape }) {
      const from = x!.shape
      const skip = shape.length - from.length
      if (
        skip < 0 ||
        shape.some(negative) ||
        from.some((dim, i) => dim !== 1 && !sameDim(dim, shape[skip + i]!))
      )
        throw new ShapeError(`broadcastTo: ${showShape(from)} does not broadcast to ${showShape(shape)}`)
      return { shape, dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x] }) => [g?.sumTo(x!.shape)],
    onnx: (e, [x], { attributes: { shape } }) => [e.node('Expand', [x!, e.dims(shape)])],
    evaluate([x], _, [out]) {
      const from = broadcastIndex(x!.shape, out!.shape)
      const result = build(out!.shape, () => 0)
      result.data.forEach((_, i) => {
        result.data[i] = element(x!, from(i))
      })
      return [result]
    },
  } satisfies Primitive<{ shape: Shape }>,

  /** Elements `start` to `end` (exclusive) of one axis, both in [0, size]. */
  slice: {
    name: 'slice',
    shape([x], { axis, start, end }) {
      const size = x!.shape[axis]
      const outside = (dim: Dim): boolean =>
        typeof dim === 'number' && (dim < 0 || (typeof size === 'number' && dim > size))
      const length = subtractDims(end, start)
      if (size === undefined || outside(start) || outside(end) || (typeof length === 'number' && length < 0))
        throw new ShapeError(`slice: ${start} to ${end} of axis ${axis} is outside ${showShape(x!.shape)}`)
      return { shape: x!.shape.with(axis, length), dtype: x!.dtype }
    },
    // ONNX would cut the slice short in silence.
    conditions([x], { axis, start, end }) {
      const text = `slice: ${start} to ${end} of axis ${axis} is outside ${showShape(x!.shape)}`
      return [
        [start, text],
        [subtractDims(x!.shape[axis]!, end), text],
      ]
    },
    grad: ([g], { inputs: [x], attributes: { axis, start, end } }) => [
      g?.pad(axis, start, subtractDims(x!.shape[axis]!, end)),
    ],
    onnx: (e, [x], { attributes: { axis, start, end } }) => [
      e.node('Slice', [x!, e.dims([start]), e.dims([end]), e.dims([axis])]),
    ],
    evaluate: ([x], { axis, start }, [out]) => [
      build(out!.shape, (at) => read(x!, at.with(axis, at[axis]! + known(start)))),
    ],
  } satisfies Primitive<{ axis: number; start: Dim; end: Dim }>,

  /** `before` and `after` (not negative) elements of `value` at the ends of one axis. */
  pad: {
    name: 'pad',
    shape([x], { axis, before, after }) {
      const size = x!.shape[axis]
      if (size === undefined || negative(before) || negative(after))
        throw new ShapeError(`pad: ${before} and ${after} at axis ${axis} of ${showShape(x!.shape)}`)
      return { shape: x!.shape.with(axis, addDims(addDims(size, before), after)), dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x], attributes: { axis, before } }) => [
      g?.slice(axis, before, addDims(before, x!.shape[axis]!)),
    ],
    onnx: (e, [x], { inputs: [input], attributes: { axis, before, after, value } }) => [
      e.node('Pad', [x!, e.dims([before, after]), e.scalar(value, input!.dtype), e.dims([axis])]),
    ],
    evaluate: ([x], { axis, before, value }, [out]) => [
      build(out!.shape, (at) => {
        const i = at[axis]! - known(before)
        return i < 0 || i >= x!.shape[axis]! ? value : read(x!, at.with(axis, i))
      }),
    ],
  } satisfies Primitive<{ axis: number; before: Dim; after: Dim; value: number }>,

  concat: {
    name: 'concat',
    shape(inputs, { axis }) {
      const [first] = inputs as [Aval]
      for (const { shape, dtype } of inputs)
        if (
          dtype !== first.dtype ||
          axis >= shape.length ||
          shape.length !== first.shape.length ||
          shape.some((dim, i) => i !== axis && !sameDim(dim, first.shape[i]!))
        )
          throw new ShapeError(
            `concat: ${inputs.map((i) => `${i.dtype}${showShape(i.shape)}`).join(', ')} do not join along axis ${axis}`,
          )
      const size = inputs.map(({ shape }) => shape[axis]!).reduce(addDims)
      return { shape: first.shape.with(axis, size), dtype: first.dtype }
    },
    grad([g], { inputs, attributes: { axis } }) {
      let start: Dim = 0
      return inputs.map((x) => {
        const end = addDims(start, x.shape[axis]!)
        const part = g?.slice(axis, start, end)
        start = end
        return part
      })
    },
    onnx: (e, inputs, { attributes: { axis } }) => [e.node('Concat', inputs, { axis })],
    evaluate: (inputs, { axis }, [out]) => [
      build(out!.shape, (at) => {
        let i = at[axis]!
        for (const x of inputs) {
          if (i < x.shape[axis]!) return read(x, at.with(axis, i))
          i -= x.shape[axis]!
        }
        throw new RangeError('concat: index outside the result')
      }),
    ],
  } satisfies Primitive<{ axis: number }>,

  /** 0, 1, ... size - 1. */
  iota: {
    name: 'iota',
    shape(_, { size, dtype }) {
      if (negative(size)) throw new ShapeError(`iota: size ${size}`)
      return { shape: [size], dtype }
    },
    grad: 'none',
    onnx(e, _, { attributes: { size, dtype } }) {
      const scalar = e.node('Reshape', [e.dims([size]), e.dims([])])
      const range = e.node('Range', [e.scalar(0, 'i64'), scalar, e.scalar(1, 'i64')])
      return [dtype === 'i64' ? range : e.node('Cast', [range], { to: { dtype } })]
    },
    evaluate: (_inputs, _, [out]) => [build(out!.shape, ([i]) => i!)],
  } satisfies Primitive<{ size: Dim; dtype: DType }>,

  /** The size of an axis as a scalar, so that symbolic sizes can enter the arithmetic. */
  size: {
    name: 'size',
    shape: (_, { dtype }) => ({ shape: [], dtype }),
    grad: 'none',
    onnx(e, _, { attributes: { size, dtype } }) {
      const scalar = e.node('Reshape', [e.dims([size]), e.dims([])])
      return [e.node('Cast', [scalar], { to: { dtype } })]
    },
    evaluate: (_inputs, { size }) => [{ shape: [], data: Float64Array.of(known(size)) }],
  } satisfies Primitive<{ size: Dim; dtype: DType }>,

  /** The same values under a new identity, to differentiate with respect to. Emits nothing. */
  identity: {
    name: 'identity',
    shape: ([x]) => x!,
    grad: ([g]) => [g],
    onnx: (_, [x]) => [x!],
    evaluate: ([x]) => [x!],
  } satisfies Primitive<Record<never, never>>,

  stopGradient: {
    name: 'stopGradient',
    shape: ([x]) => x!,
    grad: 'none',
    onnx: (_, [x]) => [x!],
    evaluate: ([x]) => [x!],
  } satisfies Primitive<Record<never, never>>,

  /**
   * `x`, but not before `after` is computed. Rematerialisation needs it: without a dependency on the
   * cotangent the runtime would merge the recomputed nodes with the first ones and keep both alive.
   */
  barrier: {
    name: 'barrier',
    shape: ([x]) => x!,
    grad: ([g]) => [g, undefined],
    onnx(e, [x, after], { inputs: [input, token] }) {
      // Integers and masks are small: not worth waiting for.
      if (!isFloat(input!.dtype)) return [x!]
      const flat = e.node('Reshape', [after!, e.dims([-1])])
      const first = e.node('Slice', [flat, e.dims([0]), e.dims([1]), e.dims([0])])
      const asFloat = token!.dtype === 'f32' ? first : e.node('Cast', [first], { to: { dtype: 'f32' } })
      // A scalar condition even where the token has no elements.
      const sum = e.node('ReduceSum', [asFloat], { keepdims: 0 })
      return [e.node('Where', [e.node('IsNaN', [sum]), x!, x!])]
    },
    evaluate: ([x]) => [x!],
  } satisfies Primitive<Record<never, never>>,
}
