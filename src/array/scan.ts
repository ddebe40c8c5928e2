/** Loops along an axis: recurrent layers, running statistics, whatever goes from step to step. */
import { isFloat } from './dtype.ts'
import { backpropagate } from './grad.ts'
import { type Body, type Call, ShapeError } from './op.ts'
import { primitives } from './primitives/index.ts'
import { type ScanAttributes, scanInputs } from './primitives/loop.ts'
import { apply, placeholder, scalar, type Tensor } from './tensor.ts'
import { leaves, unflatten } from './tree.ts'

export interface ScanOptions {
  /** From the last slice to the first; results stay in the places of their slices. */
  readonly reverse?: boolean
}

const list = (tree: unknown): Tensor[] => leaves(tree).map(([, leaf]) => leaf)

/**
 * Applies `f` to the slices of `xs` along their first axis, one after the other, handing a state on:
 *
 *     const { state, ys } = scan((sum, x) => [sum.add(x), sum], zeros([3]), x)   // x, ys [T, 3]
 *
 * State, slices and results are trees; the state keeps its structure, shapes and dtypes. `f` is traced once, however
 * many steps there are, and once more for each derivative, so it must be a function of its arguments and of tensors
 * around it, which are differentiated too. The backward pass keeps the state before each step and computes the rest
 * again. Throws `ShapeError` where sequences have no axis in common, or a step changes the type of the state.
 */
export function scan<State, X, Y>(
  f: (state: State, x: X) => readonly [state: State, y: Y],
  initial: State,
  xs: X,
  { reverse = false }: ScanOptions = {},
): { state: State; ys: Y } {
  const paths = (tree: unknown): string =>
    leaves(tree)
      .map(([path]) => path)
      .join(', ')
  let structure: Y | undefined
  const step: Step = (states, slices) => {
    const [next, y] = f(unflatten(initial, states) as State, unflatten(xs, slices) as X)
    if (paths(next) !== paths(initial))
      throw new ShapeError(`scan: the state has leaves [${paths(initial)}] and a step makes [${paths(next)}]`)
    structure ??= y
    return { states: list(next), results: list(y) }
  }
  const { states, results } = loop(step, list(initial), list(xs), reverse)
  return { state: unflatten(initial, states) as State, ys: unflatten(structure, results) as Y }
}

type Step = (
  states: readonly Tensor[],
  slices: readonly Tensor[],
) => { readonly states: readonly Tensor[]; readonly results: readonly Tensor[] }

function loop(
  step: Step,
  initial: readonly Tensor[],
  sequences: readonly Tensor[],
  reverse: boolean,
): ReturnType<Step> {
  const before = scalar(0).id
  const states = initial.map(({ shape, dtype }, i) => placeholder(`state${i}`, shape, dtype))
  const slices = sequences.map(({ shape, dtype }, i) => placeholder(`slice${i}`, shape.slice(1), dtype))
  const made = step(states, slices)
  // The states before each step are results too: the backward pass begins from them. Nothing else uses them.
  const outputs = [...made.states, ...made.results, ...states]
  const around = surroundings(outputs, before, new Set([...states, ...slices]))
  const body: Body = {
    inputs: [...states, ...slices, ...around],
    outputs,
    gradient: (cotangents, call) => gradient(step, cotangents, call as unknown as Call<ScanAttributes>),
  }
  const attributes = { body, states: states.length, sequences: slices.length, reverse }
  const all = apply(primitives.scan, [...initial, ...sequences, ...around], attributes)
  return {
    states: all.slice(0, states.length),
    results: all.slice(states.length, all.length - states.length),
  }
}

/** Tensors that `outputs` are computed from and that were there before: those of the graph around, and arrays. */
function surroundings(outputs: readonly Tensor[], before: number, own: ReadonlySet<Tensor>): Tensor[] {
  const seen = new Set<Tensor>(own)
  const found: Tensor[] = []
  const stack = [...outputs].reverse()
  while (stack.length > 0) {
    const node = stack.pop()!
    if (seen.has(node)) continue
    seen.add(node)
    const { source } = node
    if (source.kind === 'value' && source.literal) continue
    if (node.id < before || source.kind !== 'call') found.push(node)
    else {
      stack.push(...source.call.inputs)
      if (source.call.expansion) stack.push(...source.call.expansion)
    }
  }
  return found
}

/**
 * The same loop backwards: its state is the cotangent of the state, and a sum for each tensor around; its sequences
 * are the states before each step, the slices, and the cotangents of the results.
 */
function gradient(
  step: Step,
  cotangents: readonly (Tensor | undefined)[],
  { inputs, outputs, attributes }: Call<ScanAttributes>,
): (Tensor | undefined)[] {
  const { states: count, reverse } = attributes
  const given = scanInputs(inputs, attributes)
  const zeros = (like: Tensor): Tensor => like.zero().broadcastTo(like.shape)
  const around = given.around.filter(differentiable)
  const seeded = outputs.flatMap((_, i) => (i >= count && cotangents[i] ? [i] : []))
  const floating = outputs.flatMap((output, i) => (i < count && differentiable(output) ? [i] : []))

  const back: Step = (sums, parts) => {
    const [gState, total] = cut(sums, floating.length)
    const [states, rest] = cut(parts, count)
    const [slices, gResults] = cut(rest, given.sequences.length)
    const made = step(states, slices)
    const all = [...made.states, ...made.results, ...states]
    const [from, to] = [floating.map((i) => states[i]!), slices.filter(differentiable)]
    const grads = backpropagate(
      [...floating, ...seeded].map((i) => all[i]!),
      [...gState, ...gResults],
      [...from, ...to, ...around],
    )
    const [gFrom, others] = cut(grads, from.length)
    const [gTo, gAround] = cut(others, to.length)
    return { states: [...gFrom, ...gAround.map((g, i) => total[i]!.add(g))], results: gTo }
  }
  const { states, results } = loop(
    back,
    [...floating.map((i) => cotangents[i] ?? zeros(outputs[i]!)), ...around.map(zeros)],
    [...cut(outputs, outputs.length - count)[1], ...given.sequences, ...seeded.map((i) => cotangents[i]!)],
    !reverse,
  )
  const [gStates, gAround] = cut(states, floating.length)
  return [
    ...spread(gStates, given.states),
    ...spread(results, given.sequences),
    ...spread(gAround, given.around),
  ]
}

const differentiable = ({ dtype }: Tensor): boolean => isFloat(dtype)

const cut = <T>(items: readonly T[], at: number): [T[], T[]] => [items.slice(0, at), items.slice(at)]

/** Gradients of the differentiable ones of `tensors`, in their places. */
function spread(gradients: readonly Tensor[], tensors: readonly Tensor[]): (Tensor | undefined)[] {
  let next = 0
  return tensors.map((tensor) => (differentiable(tensor) ? gradients[next++] : undefined))
}
