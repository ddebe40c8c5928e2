/** Matrix product, and reading and writing by index. */
import { broadcastShapes, type Dim, type Shape, sameDim, sameShape, showShape, sizeOf } from '../dim.ts'
import { isFloat } from '../dtype.ts'
import { type Aval, type Emitter, type NdArray, type Primitive, ShapeError, type Value } from '../op.ts'
import type { Tensor } from '../tensor.ts'
import { broadcastIndex, build, element, ravel, read } from './reference.ts'

export interface MatmulAttributes {
  readonly transposeA: boolean
  readonly transposeB: boolean
  /** Factor of the product; free in the fused operator. */
  readonly alpha: number
}

const swapLast = <T>(shape: readonly T[]): T[] => [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!]

function matmulShape([a, b]: readonly Aval[], { transposeA, transposeB, alpha }: MatmulAttributes): Aval {
  const text = `${showShape(a!.shape)}${transposeA ? 'ᵀ' : ''} and ${showShape(b!.shape)}${transposeB ? 'ᵀ' : ''}`
  if (a!.shape.length < 2 || b!.shape.length < 2)
    throw new ShapeError(`matmul: takes arrays of two axes or more, got ${text}`)
  if (a!.dtype !== b!.dtype) throw new ShapeError(`matmul: dtypes differ: ${a!.dtype} and ${b!.dtype}`)
  if (a!.dtype === 'bool') throw new ShapeError(`matmul: takes numbers, got bool; cast it`)
  if (!isFloat(a!.dtype) && !Number.isInteger(alpha))
    throw new ShapeError(`matmul: factor ${alpha} of a product of ${a!.dtype}`)
  const left = transposeA ? swapLast(a!.shape) : a!.shape
  const right = transposeB ? swapLast(b!.shape) : b!.shape
  const batch = broadcastShapes(left.slice(0, -2), right.slice(0, -2))
  if (!batch || !sameDim(left.at(-1)!, right.at(-2)!)) throw new ShapeError(`matmul: ${text} do not fit`)
  return { shape: [...batch, left.at(-2)!, right.at(-1)!], dtype: a!.dtype }
}

/** Rows of all leading axes as one matrix. */
const rows = (x: Tensor): Tensor => x.reshape([sizeOf(x.shape.slice(0, -1)), x.shape.at(-1)!])

function matmulGrad(g: Tensor, a: Tensor, b: Tensor, attributes: MatmulAttributes): [Tensor, Tensor] {
  const { transposeA, transposeB, alpha } = attributes
  const da = transposeA
    ? b.matmul(g, { transposeA: transposeB, transposeB: true, alpha })
    : g.matmul(b, { transposeB: !transposeB, alpha })
  // A shared matrix gets one product over all rows instead of one per batch entry and a sum.
  const [left, right] =
    b.shape.length === 2 && a.shape.length > 2 && !transposeA ? [rows(a), rows(g)] : [a, g]
  const db = transposeB
    ? right.matmul(left, { transposeA: true, transposeB: transposeA, alpha })
    : left.matmul(right, { transposeA: !transposeA, alpha })
  return [da.sumTo(a.shape), db.sumTo(b.shape)]
}

export type ScatterMode = 'add' | 'set'

function checkUpdates(name: string, x: Aval, updates: Aval): void {
  if (x.dtype !== updates.dtype)
    throw new ShapeError(`${name}: updates of ${x.dtype} are ${updates.dtype}; cast one of them`)
}

/** Base shape of a gather along `axis` and the shape that gathered elements have. */
const gatheredShape = (shape: Shape, indices: Shape, axis: number): Dim[] => [
  ...shape.slice(0, axis),
  ...indices,
  ...shape.slice(axis + 1),
]

function checkIndices(name: string, x: Aval, indices: Aval, axis: number): void {
  if (axis < 0 || axis >= x.shape.length)
    throw new ShapeError(`${name}: axis ${axis} outside shape ${showShape(x.shape)}`)
  if (indices.dtype !== 'i32' && indices.dtype !== 'i64')
    throw new ShapeError(`${name}: indices must be i32 or i64, got ${indices.dtype}`)
}

/** Where the element of a gathered array at `at` comes from. */
const gatherSource = (at: readonly number[], x: NdArray, indices: NdArray, axis: number): number[] => {
  const rank = indices.shape.length
  const index = inRange(read(indices, at.slice(axis, axis + rank)), x, axis)
  return [...at.slice(0, axis), index, ...at.slice(axis + rank)]
}

/** ONNX counts negative indices from the end; so do we. */
function inRange(index: number, { shape }: NdArray, axis: number): number {
  const size = shape[axis]!
  if (index < -size || index >= size) throw new RangeError(`index ${index} outside an axis of ${size}`)
  return index < 0 ? index + size : index
}

/** Indices along `axis` must not reach past the other axes. */
function checkElements(name: string, x: Aval, indices: Aval, axis: number): void {
  checkIndices(name, x, indices, axis)
  const tooLong = (dim: Dim, i: number): boolean => {
    const size = x.shape[i]!
    return (
      i !== axis &&
      dim !== 1 &&
      (typeof dim === 'number' && typeof size === 'number' ? dim > size : !sameDim(dim, size))
    )
  }
  if (indices.shape.length !== x.shape.length || indices.shape.some(tooLong))
    throw new ShapeError(
      `${name}: indices ${showShape(indices.shape)} do not fit ${showShape(x.shape)} along axis ${axis}`,
    )
}

/**
 * Adds rows at indices. ScatterND adds in parallel without locks and loses duplicates, as measured in ONNX
 * Runtime 1.30; ScatterElements takes them one by one.
 */
function scatterAdd(e: Emitter, values: readonly Value[], shapes: readonly Shape[], axis: number): Value {
  const [x, indices, updates] = values as [Value, Value, Value]
  const [base, index] = shapes as [Shape, Shape]
  const [before, after] = [sizeOf(base.slice(0, axis)), sizeOf(base.slice(axis + 1))]
  const reshape = (value: Value, shape: Shape) => e.node('Reshape', [value, e.dims(shape)], { allowzero: 1 })
  const count = sizeOf(index)
  const everywhere = e.node('Expand', [reshape(indices, [1, count, 1]), e.dims([before, count, after])])
  const sum = e.node(
    'ScatterElements',
    [reshape(x, [before, base[axis]!, after]), everywhere, reshape(updates, [before, count, after])],
    { axis: 1, reduction: 'add' },
  )
  return reshape(sum, base)
}

export const linear = {
  /** Product of the last two axes, batched over the others with broadcasting. */
  matmul: {
    name: 'matmul',
    shape: matmulShape,
    grad: ([g], { inputs: [a, b], attributes }) =>
      g ? matmulGrad(g, a!, b!, attributes) : [undefined, undefined],
    onnx(e, [a, b], { inputs: [left, right], attributes: { transposeA, transposeB, alpha } }) {
      if (!transposeA && !transposeB && alpha === 1) return [e.node('MatMul', [a!, b!])]
      if (left!.dtype === 'f32' && e.provider !== 'webgpu' && e.provider !== 'onnx')
        return [
          e.node(
            'FusedMatMul',
            [a!, b!],
            { transA: Number(transposeA), transB: Number(transposeB), alpha: { float: alpha } },
            'com.microsoft',
          ),
        ]
      const swap = (value: string, rank: number, on: boolean) =>
        on
          ? e.node('Transpose', [value], { perm: swapLast(Array.from({ length: rank }, (_, i) => i)) })
          : value
      const product = e.node('MatMul', [
        swap(a!, left!.shape.length, transposeA),
        swap(b!, right!.shape.length, transposeB),
      ])
      return [alpha === 1 ? product : e.node('Mul', [product, e.scalar(alpha, left!.dtype)])]
    },
    evaluate([a, b], { transposeA, transposeB, alpha }, [out]) {
      const shape = out!.shape
      const side = (x: NdArray, transposed: boolean) => {
        const batch = broadcastIndex(x.shape.slice(0, -2), shape.slice(0, -2))
        const [m, n] = [x.shape.at(-2)!, x.shape.at(-1)!]
        return (at: readonly number[], i: number, j: number) =>
          element(x, batch(ravel(at, shape.slice(0, -2))) * m * n + (transposed ? j * n + i : i * n + j))
      }
      const [left, right] = [side(a!, transposeA), side(b!, transposeB)]
      const inner = a!.shape.at(transposeA ? -2 : -1)!
      return [
        build(shape, (at) => {
          let sum = 0
          for (let k = 0; k < inner; k++)
            sum += left(at.slice(0, -2), at.at(-2)!, k) * right(at.slice(0, -2), k, at.at(-1)!)
          return sum * alpha
        }),
      ]
    },
  } satisfies Primitive<MatmulAttributes>,

  /** x[..., indices, ...] along `axis`: rows of an embedding table for axis 0. */
  gather: {
    name: 'gather',
    shape([x, indices], { axis }) {
      checkIndices('gather', x!, indices!, axis)
      return { shape: gatheredShape(x!.shape, indices!.shape, axis), dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x, indices], attributes: { axis } }) => [
      g && x!.zero().broadcastTo(x!.shape).scatter(indices!, g, axis, 'add'),
      undefined,
    ],
    onnx: (e, inputs, { attributes: { axis } }) => [e.node('Gather', inputs, { axis })],
    evaluate: ([x, indices], { axis }, [out]) => [
      build(out!.shape, (at) => read(x!, gatherSource(at, x!, indices!, axis))),
    ],
  } satisfies Primitive<{ axis: number }>,

  /**
   * `x` with `updates` added or written at x[..., indices, ...]: the transpose of gather. Which of several
   * values written at one index stays is not defined.
   */
  scatter: {
    name: 'scatter',
    shape([x, indices, updates], { axis }) {
      checkIndices('scatter', x!, indices!, axis)
      const expected = gatheredShape(x!.shape, indices!.shape, axis)
      if (!sameShape(expected, updates!.shape))
        throw new ShapeError(
          `scatter: updates of ${showShape(x!.shape)} are ${showShape(updates!.shape)}, not ${showShape(expected)}`,
        )
      checkUpdates('scatter', x!, updates!)
      return x!
    },
    grad: ([g], { inputs: [, indices, updates], attributes: { axis, mode } }) => [
      mode === 'add' ? g : g?.scatter(indices!, updates!.zero().broadcastTo(updates!.shape), axis, 'set'),
      undefined,
      g?.gather(indices!, axis),
    ],
    onnx(e, [x, indices, updates], { inputs, attributes: { axis, mode } }) {
      if (mode === 'add' && e.provider === 'cpu')
        return [
          scatterAdd(
            e,
            [x!, indices!, updates!],
            inputs.map(({ shape }) => shape),
            axis,
          ),
        ]
      const [rank, indexRank] = [inputs[0]!.shape.length, inputs[1]!.shape.length]
      // ScatterND writes along the leading axis: bring `axis` to the front and back.
      const front = [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)]
      const updateAxes = Array.from({ length: rank - 1 + indexRank }, (_, i) => i)
      const indexAxes = updateAxes.slice(axis, axis + indexRank)
      const updateFront = [...indexAxes, ...updateAxes.filter((i) => !indexAxes.includes(i))]
      const move = (value: string, perm: number[]) =>
        perm.every((p, i) => p === i) ? value : e.node('Transpose', [value], { perm })
      const wide =
        inputs[1]!.dtype === 'i64' ? indices! : e.node('Cast', [indices!], { to: { dtype: 'i64' } })
      const written = e.node(
        'ScatterND',
        [move(x!, front), e.node('Unsqueeze', [wide, e.dims([-1])]), move(updates!, updateFront)],
        { reduction: mode === 'add' ? 'add' : 'none' },
      )
      return [
        move(
          written,
          front.map((_, i) => front.indexOf(i)),
        ),
      ]
    },
    evaluate([x, indices, updates], { axis, mode }) {
      const result = { shape: x!.shape, data: x!.data.slice() }
      build(updates!.shape, (at) => {
        const to = ravel(gatherSource(at, x!, indices!, axis), x!.shape)
        const value = read(updates!, at)
        result.data[to] = mode === 'add' ? element(result, to) + value : value
        return 0
      })
      return [result]
    },
  } satisfies Primitive<{ axis: number; mode: ScatterMode }>,

  /** out[i][j] = x[indices[i][j]][j] for axis 0, and so on; `indices` has x's rank. */
  gatherElements: {
    name: 'gatherElements',
    shape([x, indices], { axis }) {
      checkElements('gatherElements', x!, indices!, axis)
      return { shape: indices!.shape, dtype: x!.dtype }
    },
    grad: ([g], { inputs: [x, indices], attributes: { axis } }) => [
      g && x!.zero().broadcastTo(x!.shape).scatterElements(indices!, g, axis, 'add'),
      undefined,
    ],
    onnx: (e, inputs, { attributes: { axis } }) => [e.node('GatherElements', inputs, { axis })],
    evaluate: ([x, indices], { axis }) => [
      build(indices!.shape, (at) => read(x!, at.with(axis, inRange(read(indices!, at), x!, axis)))),
    ],
  } satisfies Primitive<{ axis: number }>,

  /** `x` with `updates` added or written where `gatherElements` would read. */
  scatterElements: {
    name: 'scatterElements',
    shape([x, indices, updates], { axis }) {
      checkElements('scatterElements', x!, indices!, axis)
      checkUpdates('scatterElements', x!, updates!)
      if (!sameShape(indices!.shape, updates!.shape))
        throw new ShapeError(
          `scatterElements: indices ${showShape(indices!.shape)} and updates ${showShape(updates!.shape)} into ${showShape(x!.shape)}`,
        )
      return x!
    },
    grad: ([g], { inputs: [, indices, updates], attributes: { axis, mode } }) => [
      mode === 'add'
        ? g
        : g?.scatterElements(indices!, updates!.zero().broadcastTo(updates!.shape), axis, 'set'),
      undefined,
      g?.gatherElements(indices!, axis),
    ],
    onnx: (e, inputs, { attributes: { axis, mode } }) => [
      e.node('ScatterElements', inputs, { axis, reduction: mode === 'add' ? 'add' : 'none' }),
    ],
    evaluate([x, indices, updates], { axis, mode }) {
      const result = { shape: x!.shape, data: x!.data.slice() }
      build(updates!.shape, (at) => {
        const to = ravel(at.with(axis, inRange(read(indices!, at), x!, axis)), x!.shape)
        const value = read(updates!, at)
        result.data[to] = mode === 'add' ? element(result, to) + value : value
        return 0
      })
      return [result]
    },
  } satisfies Primitive<{ axis: number; mode: ScatterMode }>,
}
