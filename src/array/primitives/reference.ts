/** Index arithmetic of the reference interpreter: slow and plain on purpose. */
import type { NdArray } from '../op.ts'

export const sizeOfArray = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** Row-major strides, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  for (let i = shape.length - 1, stride = 1; i >= 0; i--) {
    strides[i] = stride
    stride *= shape[i]!
  }
  return strides
}

/** The coordinates of the element at a flat index. */
export const unravel = (index: number, shape: readonly number[]): number[] =>
  stridesOf(shape).map((stride, i) => Math.floor(index / stride) % shape[i]!)

export const ravel = (at: readonly number[], shape: readonly number[]): number =>
  stridesOf(shape).reduce((sum, stride, i) => sum + stride * at[i]!, 0)

/** A NaN outside the array would hide a mistake of the interpreter. */
export function element(array: NdArray, index: number): number {
  const value = array.data[index]
  if (value === undefined) throw new RangeError(`index ${index} outside an array of ${array.data.length}`)
  return value
}

/** From a flat index of the broadcast shape to the flat index of the input that feeds it. */
export function broadcastIndex(from: readonly number[], to: readonly number[]): (index: number) => number {
  const strides = stridesOf(from)
  const skip = to.length - from.length
  return (index) =>
    unravel(index, to).reduce(
      (sum, at, i) => sum + (i < skip || from[i - skip] === 1 ? 0 : at * strides[i - skip]!),
      0,
    )
}

/** An array whose elements are computed from their coordinates. */
export function build(shape: readonly number[], f: (at: number[]) => number): NdArray {
  const data = new Float64Array(sizeOfArray(shape))
  for (let i = 0; i < data.length; i++) data[i] = f(unravel(i, shape))
  return { shape, data }
}

export const read = (array: NdArray, at: readonly number[]): number => element(array, ravel(at, array.shape))
