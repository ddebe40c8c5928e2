/** What an optimizer is: pure functions over trees of parameters, so that a whole step is one graph. */
import { concat, leaves, mapTree, sizeOf, type Tensor } from '../array/index.ts'

export interface Optimizer<State> {
  /** The state before the first step, for parameters of these shapes. */
  init<P>(params: P): State
  /** One step. `rate` is the learning rate, an f32 scalar: schedules change it without recompiling. */
  update<P>(params: P, grads: P, state: State, rate: Tensor): { params: P; state: State }
}

/** Which parameters weight decay shrinks, by their path in the tree (`blocks.0.attn.q.weight`) and themselves. */
export type Decays = (path: string, leaf: Tensor) => boolean

/**
 * The default of every optimizer: matrices, embeddings and learned positions included; neither norms nor biases,
 * whose size says nothing about how complex the model is (as in GPT-3's and most later recipes).
 */
export const decays: Decays = (_, leaf) => leaf.rank > 1
/** Weight decay on every parameter, as `torch.optim` has it. */
export const decaysAll: Decays = () => true

/** Leaves smaller than this are joined: enough for norms and biases. */
const smallSize = 16384

/** Leaves of a tree, those that decay and the others; small ones of each in one row. */
interface Packed {
  readonly decayed: Part
  readonly plain: Part
}
interface Part {
  readonly small: Tensor | undefined
  readonly large: Readonly<Record<string, Tensor>>
}

const isSmall = (leaf: Tensor): boolean => {
  const count = sizeOf(leaf.shape)
  return typeof count === 'number' && count < smallSize
}

function join(entries: readonly (readonly [path: string, leaf: Tensor])[]): Part {
  const [first, ...rest] = entries.flatMap(([, leaf]) => (isSmall(leaf) ? [leaf.reshape([-1])] : []))
  return {
    small: first && concat([first, ...rest], 0),
    large: Object.fromEntries(entries.filter(([, leaf]) => !isSmall(leaf))),
  }
}

function pack(tree: unknown, decays: Decays): Packed {
  const entries = leaves(tree)
  return {
    decayed: join(entries.filter(([path, leaf]) => decays(path, leaf))),
    plain: join(entries.filter(([path, leaf]) => !decays(path, leaf))),
  }
}

function unpack<T>(like: T, packed: Packed, decays: Decays): T {
  const at = { decayed: 0, plain: 0 }
  return mapTree(like, (leaf, path) => {
    const kind = decays(path, leaf) ? 'decayed' : 'plain'
    const { small, large } = packed[kind]
    if (!isSmall(leaf)) return large[path]!
    const start = at[kind]
    at[kind] += sizeOf(leaf.shape) as number
    return small!.slice(0, start, at[kind]).reshape(leaf.shape)
  }) as T
}

/**
 * An elementwise optimizer with all small parameters updated as one vector (two, if some decay): a transformer has a
 * hundred norms and biases, and each would add a dozen nodes to the graph. The state holds them joined. `make` is
 * told how to see from a joined leaf's path whether it decays.
 */
export function joinSmall<State>(
  decays: Decays,
  make: (decayed: (path: string) => boolean) => Optimizer<State>,
): Optimizer<State> {
  const optimizer = make((path) => path.startsWith('decayed.'))
  return {
    init: (params) => optimizer.init(pack(params, decays)),
    update(params, grads, state, rate) {
      const result = optimizer.update(pack(params, decays), pack(grads, decays), state, rate)
      return { params: unpack(params, result.params, decays), state: result.state }
    },
  }
}
