/** Tracing functions over trees and compiling them once for all sizes of their named axes. */
import { type Dim, symbol } from './dim.ts'
import type { Graph } from './graph.ts'
import { placeholder, type Tensor } from './tensor.ts'
import { leaves, type Mapped, mapTree, unflatten } from './tree.ts'

/** A compiled graph. */
export interface Program {
  /** Concrete inputs in the graph's order; outputs in the graph's order. The signal may end it; see `Jitted`. */
  run(inputs: readonly Tensor[], signal?: AbortSignal): Promise<Tensor[]>
  dispose(): void
}

export interface Compiler {
  compile(graph: Graph, name: string): Promise<Program>
}

/** Names for the axes of one array, null for an axis of fixed size: `['batch', 'time', null]`. */
export type AxisNames = readonly (string | null)[]
/** Axis names for the leaves of a tree; names given for a branch hold for every leaf under it. */
export type Axes = AxisNames | { readonly [key: string]: Axes | undefined } | readonly (Axes | undefined)[]

export interface JitOptions {
  /** Named axes, by argument. A program is compiled once for all sizes of a named axis. */
  readonly axes?: readonly (Axes | undefined)[]
  /**
   * Branches of the result that may be written over an argument: `{ cache: '1' }` gives the memory of the
   * second argument to the result's `cache`, `'1.cache'` that of a branch of it. What is given away must not be
   * used afterwards.
   */
  readonly inPlace?: Readonly<Record<string, string>>
  readonly name?: string
}

/** Types of an argument's leaves, with axis names; what `trace` needs to know of it. */
export interface LeafType {
  readonly shape: readonly Dim[]
  readonly dtype: Tensor['dtype']
}

const isNames = (axes: Axes): axes is AxisNames =>
  Array.isArray(axes) && axes.length > 0 && axes.every((entry) => entry === null || typeof entry === 'string')

function namesAt(axes: Axes | undefined, path: readonly string[]): AxisNames | undefined {
  if (axes === undefined || isNames(axes)) return axes
  // A key may have dots of its own, as the names of weights do.
  for (let length = 1; length <= path.length; length++) {
    const key = path.slice(0, length).join('.')
    if (Object.hasOwn(axes, key)) return namesAt((axes as Record<string, Axes>)[key], path.slice(length))
  }
  return undefined
}

/** Every list of names with its place. */
function listed(axes: Axes | undefined, path: readonly string[] = []): [path: string, names: AxisNames][] {
  if (axes === undefined) return []
  if (isNames(axes)) return [[path.join('.'), axes]]
  return Object.entries(axes).flatMap(([key, inner]) => listed(inner as Axes | undefined, [...path, key]))
}

/** Throws for names of an argument that is not there: misspelt, they would be lost. */
function checkAxes(axes: Axes | undefined, paths: readonly string[]): void {
  const used = new Set(paths.map((path) => namesAt(axes, path.split('.'))))
  for (const [path, names] of listed(axes))
    if (names.length > 0 && !used.has(names))
      throw new Error(`axes: there is no argument '${path}'; there are ${paths.slice(0, 8).join(', ')}`)
}

/** The type of an argument's leaf under the options' axis names. */
function leafType(leaf: Tensor, path: string, options: JitOptions): LeafType {
  const names = namesAt(options.axes as Axes | undefined, path.split('.'))
  if (names && names.length !== leaf.rank)
    throw new Error(`axes: ${names.length} names for '${path}', which is ${leaf}`)
  return {
    shape: leaf.sizes.map((size, axis) => {
      const name = names?.[axis]
      return typeof name === 'string' ? symbol(name) : size
    }),
    dtype: leaf.dtype,
  }
}

/** Runs `f` on placeholders and gives the graph that it made, with the structure of its result. */
export function trace<A extends readonly unknown[], R>(
  f: (...args: A) => R,
  args: A,
  options: JitOptions = {},
): { graph: Graph; result: R } {
  const inputs: { name: string; tensor: Tensor }[] = []
  const traced = mapTree(args, (leaf, path) => {
    const { shape, dtype } = leafType(leaf, path, options)
    const tensor = placeholder(path, shape, dtype)
    inputs.push({ name: path, tensor })
    return tensor
  }) as unknown as A
  checkAxes(
    options.axes as Axes | undefined,
    inputs.map(({ name }) => name),
  )
  const result = f(...traced)
  const outputs = leaves(result).map(([name, tensor]) => ({ name, tensor }))
  return { graph: { inputs, outputs, inPlace: pairs(inputs, outputs, options.inPlace ?? {}) }, result }
}

function pairs(
  inputs: Graph['inputs'],
  outputs: Graph['outputs'],
  inPlace: Readonly<Record<string, string>>,
): Map<number, number> {
  const map = new Map<number, number>()
  for (const [branch, argument] of Object.entries(inPlace)) {
    const before = map.size
    outputs.forEach(({ name }, i) => {
      if (name !== branch && !name.startsWith(`${branch}.`)) return
      const path = `${argument}${name.slice(branch.length)}`
      const from = inputs.findIndex((input) => input.name === path)
      if (from < 0)
        throw new Error(`inPlace: the result '${name}' has no counterpart '${path}' in the arguments`)
      map.set(i, from)
    })
    if (map.size === before) throw new Error(`inPlace: the result has no branch '${branch}'`)
  }
  return map
}

export interface Jitted<A extends readonly unknown[], R> {
  (...args: A): Promise<R>
  /**
   * A call that the signal ends where the runtime can; it then throws the signal's reason. Arguments that would have been
   * written over may have been, but only where the program writes.
   */
  abortable(signal: AbortSignal | undefined, ...args: A): Promise<R>
  /** Compiles for these arguments without running. */
  prepare(...args: A): Promise<void>
  /** How many programs have been compiled so far. */
  readonly compilations: number
  dispose(): void
  [Symbol.dispose](): void
}

interface Compiled<R> {
  readonly leaves: readonly ({ readonly path: string } & LeafType)[]
  readonly program: Promise<Program>
  /** The tree of the result, with placeholders. */
  readonly structure: R
}

/** Whether arguments have the paths, dtypes and fixed sizes that a program was compiled for. Called in every run. */
function fits(types: Compiled<unknown>['leaves'], flat: readonly [string, Tensor][]): boolean {
  if (types.length !== flat.length) return false
  for (let i = 0; i < types.length; i++) {
    const type = types[i]!
    const [path, leaf] = flat[i]!
    if (type.path !== path || type.dtype !== leaf.dtype) return false
    const { sizes } = leaf
    if (sizes.length !== type.shape.length) return false
    for (let axis = 0; axis < sizes.length; axis++) {
      const dim = type.shape[axis]
      if (typeof dim === 'number' && dim !== sizes[axis]) return false
    }
  }
  return true
}

/**
 * `f` compiled on first use for the structure, dtypes and fixed sizes of its arguments. Arguments are trees
 * of concrete tensors; tensors that `f` captures become constants of the program.
 */
export function jit<A extends readonly unknown[], R>(
  compiler: Compiler,
  f: (...args: A) => R,
  options: JitOptions = {},
): Jitted<A, R> {
  const programs: Compiled<R>[] = []
  const forget = (entry: Compiled<R>): void => {
    const at = programs.indexOf(entry)
    if (at >= 0) programs.splice(at, 1)
  }
  const compile = (args: A, flat: readonly [string, Tensor][]): Compiled<R> => {
    const { graph, result } = trace(f, args, options)
    // The structure of the result, without its tensors: they hold the graph and all that it captured.
    const structure = mapTree(result, (leaf, path) => placeholder(path, leaf.shape, leaf.dtype)) as R
    const program = compiler.compile(graph, options.name ?? f.name)
    const entry: Compiled<R> = {
      leaves: flat.map(([path, leaf]) => ({ path, ...leafType(leaf, path, options) })),
      program,
      structure,
    }
    programs.push(entry)
    // A program that failed to compile is tried again, and reported again, at the next call.
    program.catch(() => forget(entry))
    return entry
  }
  const compiledFor = (args: A, flat: readonly [string, Tensor][]): Compiled<R> =>
    programs.find((entry) => fits(entry.leaves, flat)) ?? compile(args, flat)
  const abortable = async (signal: AbortSignal | undefined, ...args: A): Promise<R> => {
    const flat = leaves(args)
    const { program, structure } = compiledFor(args, flat)
    const inputs = flat.map(([, leaf]) => leaf)
    const outputs = await (await program).run(inputs, signal)
    return unflatten(structure, outputs) as unknown as R
  }
  const run = (...args: A): Promise<R> => abortable(undefined, ...args)
  const dispose = (): void => {
    for (const { program } of programs.splice(0))
      program.then(
        (compiled) => compiled.dispose(),
        () => undefined,
      )
  }
  return Object.defineProperties(run as Jitted<A, R>, {
    abortable: { value: abortable },
    prepare: {
      value: async (...args: A): Promise<void> => {
        await compiledFor(args, leaves(args)).program
      },
    },
    compilations: { get: () => programs.length },
    dispose: { value: dispose },
    [Symbol.dispose]: { value: dispose },
  })
}

export type { Mapped }
