/** What an optimizer is: pure functions over trees of parameters, so that a whole step is one graph. */
import { concat, leaves, mapTree, sizeOf, type Tensor } from '../array/index.ts'

export interface Optimizer<State> {
  /** The state before the first step, for parameters of these shapes. */
  init<P>(params: P): State
  /** One step. `rate` is the learning rate, an f32 scalar: schedules change it without recompiling. */
  update<P>(params: P, grads: P, state: State, rate: Tensor): { params: P; state: State }
}

/** Leaves smaller than this are joined: enough for norms and biases. */
const smallSize = 16384

interface Packed {
  /** The small leaves in one row. */
  readonly small: Tensor | undefined
  readonly large: Readonly<Record<string, Tensor>>
}

const isSmall = (leaf: Tensor): boolean => {
  const count = sizeOf(leaf.shape)
  return typeof count === 'number' && count < smallSize
}

function pack(tree: unknown): Packed {
  const entries = leaves(tree)
  const [first, ...rest] = entries.flatMap(([, leaf]) => (isSmall(leaf) ? [leaf.reshape([-1])] : []))
  return {
    small: first && concat([first, ...rest], 0),
    large: Object.fromEntries(entries.filter(([, leaf]) => !isSmall(leaf))),
  }
}

function unpack<T>(like: T, { small, large }: Packed): T {
  let at = 0
  return mapTree(like, (leaf, path) => {
    if (!isSmall(leaf)) return large[path]!
    const start = at
    at += sizeOf(leaf.shape) as number
    return small!.slice(0, start, at).reshape(leaf.shape)
  }) as T
}

/**
 * The same elementwise optimizer with all small parameters updated as one vector: a transformer has a hundred norms
 * and biases, and each would add a dozen nodes to the graph. The state holds them joined.
 */
export const joinSmall = <State>(optimizer: Optimizer<State>): Optimizer<State> => ({
  init: (params) => optimizer.init(pack(params)),
  update(params, grads, state, rate) {
    const result = optimizer.update(pack(params), pack(grads), state, rate)
    return { params: unpack(params, result.params), state: result.state }
  },
})
