/** Comparing the engine with the reference interpreter, and gradients with finite differences. */
import { expect } from 'vitest'
import {
  type AxisNames,
  type DType,
  decode,
  type Graph,
  interpret,
  iota,
  isFloat,
  type NdArray,
  random,
  sizeOf,
  Tensor,
  tensor,
  trace,
  valueAndGrad,
} from '../../src/array/index.ts'

/** Elements of a concrete tensor as the interpreter holds them. */
export const toNd = (x: Tensor): NdArray => ({
  shape: x.sizes,
  data: Float64Array.from(Array.from(x.data as Iterable<number | bigint>, (item) => decode(item, x.dtype))),
})

/** f32 numbers in [low, high), the same for a seed. */
export function floats(shape: readonly number[], seed = 1, low = -2, high = 2): Tensor {
  const next = random.generator(seed)
  const size = shape.reduce((a, b) => a * b, 1)
  return tensor(
    Float32Array.from({ length: size }, () => low + (high - low) * next()),
    shape,
  )
}

/** Integers in [low, high), of any dtype. */
export function integers(
  shape: readonly number[],
  dtype: DType = 'i32',
  low = 0,
  high = 5,
  seed = 1,
): Tensor {
  const next = random.generator(seed)
  const size = shape.reduce((a, b) => a * b, 1)
  return tensor(
    Array.from({ length: size }, () => low + Math.floor((high - low) * next())),
    shape,
    dtype,
  )
}

/** The same numbers in another dtype; for integers, three times as large and cut. */
export const as = (x: Tensor, dtype: DType): Tensor =>
  tensor(
    [...toNd(x).data].map((value) => (isFloat(dtype) ? value : Math.trunc(3 * value))),
    x.sizes,
    dtype,
  )

/** Relative to 1 + |expected|: what single precision loses in sums of some dozens of terms. */
export const f32Tolerance = 2e-5
/** Gradients are longer chains of operations. */
export const f32GradTolerance = 1e-4
/** Kernels in double precision may order sums differently. */
export const f64Tolerance = 1e-12
/** Central differences with steps of 1e-5 in double precision: truncation 1e-10, cancellation 1e-11. */
export const differenceTolerance = 1e-7
const step = 1e-5

export function expectClose(actual: NdArray, expected: NdArray, tolerance: number, what = ''): void {
  expect(actual.shape, `${what} shape`).toEqual([...expected.shape])
  expect(actual.data.length).toBe(expected.data.length)
  let worst = 0
  let where = -1
  expected.data.forEach((value, i) => {
    const other = actual.data[i]!
    if (Object.is(value, other) || value === other) return
    const distance = Math.abs(value - other) / (1 + Math.abs(value))
    const error = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance
    if (error > worst) [worst, where] = [error, i]
  })
  const shown = where < 0 ? '' : ` at ${where}: ${actual.data[where]}, expected ${expected.data[where]}`
  expect(worst, `${what}${shown}`).toBeLessThanOrEqual(tolerance)
}

export interface Case {
  readonly title?: string
  /** `n` is the size of the axis called n. */
  readonly inputs: (n: number) => readonly Tensor[]
  readonly f: (...inputs: readonly Tensor[]) => Tensor | readonly Tensor[]
  readonly axes?: readonly (AxisNames | undefined)[]
  /** Sizes of n; [3, 1] by default where an axis has a name. */
  readonly sizes?: readonly number[]
  /** False where finite differences make no sense, at ties for example. */
  readonly differences?: boolean
  readonly tolerance?: number
}

export const titleOf = ({ title, inputs, sizes }: Case): string =>
  title ?? inputs((sizes ?? [3])[0]!).join(' ')

const asList = (value: Tensor | readonly Tensor[]): readonly Tensor[] =>
  value instanceof Tensor ? [value] : value

/** Every output weighted by other numbers, so that no two of its elements can be exchanged unnoticed. */
export function weightedSum(outputs: readonly Tensor[]): Tensor {
  const sums = outputs
    .filter(({ dtype }) => isFloat(dtype))
    .map((output, k) =>
      iota(sizeOf(output.shape), output.dtype)
        .mul(0.7)
        .add(k + 0.3)
        .cos()
        .reshape(output.shape)
        .mul(output)
        .sum(),
    )
  return sums.reduce((a, b) => a.add(b))
}

/** The graph of the gradients of a case in its float inputs, whose inputs are all inputs of the case. */
export function gradGraph(
  f: Case['f'],
  args: readonly Tensor[],
  axes?: readonly (AxisNames | undefined)[],
): { loss: Graph; grads: Graph } {
  const loss = (...all: readonly Tensor[]) => weightedSum(asList(f(...all)))
  const grads = (...all: readonly Tensor[]) => {
    const wrt = all.filter(({ dtype }) => isFloat(dtype))
    const rebuild = (moved: readonly Tensor[]) => {
      let next = 0
      return all.map((x) => (isFloat(x.dtype) ? moved[next++]! : x))
    }
    return valueAndGrad((moved: readonly Tensor[]) => loss(...rebuild(moved)))(wrt)[1]
  }
  const options = axes ? { axes } : {}
  return { loss: trace(loss, args, options).graph, grads: trace(grads, args, options).graph }
}

/** Central differences of the scalar that a graph computes in each element of its float inputs. */
export function differences(graph: Graph, inputs: readonly NdArray[]): NdArray[] {
  const at = (moved: readonly NdArray[]) => interpret(graph, moved)[0]!.data[0]!
  return graph.inputs.flatMap(({ tensor: { dtype } }, k) => {
    if (!isFloat(dtype)) return []
    const { shape, data } = inputs[k]!
    const slope = data.map((value, i) => {
      const moved = (to: number) => inputs.with(k, { shape, data: data.with(i, to) })
      return (at(moved(value + step)) - at(moved(value - step))) / (2 * step)
    })
    return [{ shape, data: slope }]
  })
}
