/** Trees: plain nested objects and arrays whose leaves are tensors. */
import { Tensor } from './tensor.ts'

export type Tree = Tensor | { readonly [key: string]: Tree } | readonly Tree[] | undefined

/** The same tree with other leaves. */
export type Mapped<T, Leaf> = T extends Tensor
  ? Leaf
  : T extends readonly (infer _)[] | object
    ? { [K in keyof T]: Mapped<T[K], Leaf> }
    : T

/** A plain object or an array. The contents of a Map, for example, would be passed over in silence. */
function isBranch(tree: unknown): tree is Readonly<Record<string, unknown>> {
  if (typeof tree !== 'object' || tree === null || tree instanceof Tensor) return false
  const prototype: unknown = Object.getPrototypeOf(tree)
  return Array.isArray(tree) || prototype === Object.prototype || prototype === null
}

const kindOf = (value: unknown): string =>
  value === null ? 'null' : typeof value === 'object' ? value.constructor.name : typeof value

/** Leaves with their paths (`blocks.0.attn.q`), in insertion order. `undefined` branches are left out. */
export function leaves(tree: unknown, path = ''): [path: string, leaf: Tensor][] {
  if (tree === undefined) return []
  if (tree instanceof Tensor) return [[path, tree]]
  if (!isBranch(tree))
    throw new TypeError(`a tree holds tensors, objects and arrays; at '${path}' there is a ${kindOf(tree)}`)
  return Object.entries(tree).flatMap(([key, child]) => leaves(child, path ? `${path}.${key}` : key))
}

/** Replaces every leaf; the structure stays. */
export function mapTree<T, Leaf = Tensor>(
  tree: T,
  f: (leaf: Tensor, path: string) => Leaf,
  path = '',
): Mapped<T, Leaf> {
  if (tree === undefined) return undefined as Mapped<T, Leaf>
  if (tree instanceof Tensor) return f(tree, path) as Mapped<T, Leaf>
  if (!isBranch(tree))
    throw new TypeError(`a tree holds tensors, objects and arrays; at '${path}' there is a ${kindOf(tree)}`)
  const entries = Object.entries(tree).map(
    ([key, child]) => [key, mapTree(child, f, path ? `${path}.${key}` : key)] as const,
  )
  const mapped = Array.isArray(tree) ? entries.map(([, child]) => child) : Object.fromEntries(entries)
  return mapped as Mapped<T, Leaf>
}

/** A tree of the structure of `like` with the leaves of an array. */
export function unflatten<T, Leaf>(like: T, list: readonly Leaf[]): Mapped<T, Leaf> {
  let next = 0
  const tree = mapTree(like, () => list[next++] as Leaf)
  if (next !== list.length) throw new Error(`${list.length} leaves for a tree of ${next}`)
  return tree
}

/** Combines the leaves of trees of one structure. */
export function zipTrees<T, Leaf = Tensor>(
  trees: readonly [T, ...T[]],
  f: (leaves: Tensor[], path: string) => Leaf,
): Mapped<T, Leaf> {
  const columns = trees.map((tree) => new Map(leaves(tree)))
  for (const column of columns)
    for (const path of column.keys())
      if (!columns[0]!.has(path)) throw new Error(`trees differ: '${path}' is missing in the first`)
  return mapTree(trees[0], (_, path) =>
    f(
      columns.map((column) => {
        const leaf = column.get(path)
        if (!leaf) throw new Error(`trees differ: '${path}' is missing in one of them`)
        return leaf
      }),
      path,
    ),
  )
}
