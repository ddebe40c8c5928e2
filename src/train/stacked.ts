/** Parameters of one shape stacked along a new first axis: one batched computation instead of one for each. */
import { concat, sizeOf, type Tensor } from '../array/index.ts'

export type Entries = readonly (readonly [path: string, leaf: Tensor])[]

/** Leaves under the name of their shape: `64x256`. */
export function byShape(entries: Entries): Map<string, [path: string, leaf: Tensor][]> {
  const groups = new Map<string, [string, Tensor][]>()
  for (const [path, leaf] of entries) {
    if (typeof sizeOf(leaf.shape) !== 'number')
      throw new Error(`the sizes of the parameter '${path}' must be numbers; it is ${leaf}`)
    const name = leaf.shape.join('x') || 'scalar'
    const group = groups.get(name)
    if (group) group.push([path, leaf])
    else groups.set(name, [[path, leaf]])
  }
  return groups
}

/** [...shape], several times -> [count, ...shape] */
export function stack(parts: readonly Tensor[]): Tensor {
  const [first, ...rest] = parts.map((part) => part.expandDims(0))
  return concat([first!, ...rest], 0)
}

/** The entry `index` of a stack, in the shape of `like`. */
export const unstack = (x: Tensor, index: number, like: Tensor): Tensor =>
  x.slice(0, index, index + 1).reshape(like.shape)
