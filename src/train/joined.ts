/** Small parameters joined into one vector, so that elementwise work on a hundred of them is one node. */
import { concat, leaves, mapTree, sizeOf, type Tensor } from '../array/index.ts'
import type { Choose, Optimizer } from './optimizer.ts'

/** Leaves smaller than this are joined: enough for norms and biases. */
const smallSize = 16384

/** Leaves of a tree, the small ones in one row. */
export interface Joined {
  readonly small: Tensor | undefined
  readonly large: Readonly<Record<string, Tensor>>
}
/** Those that decay and the others. */
interface Packed {
  readonly decayed: Joined
  readonly plain: Joined
}

const isSmall = (leaf: Tensor): boolean => {
  const count = sizeOf(leaf.shape)
  return typeof count === 'number' && count < smallSize
}

export function join(entries: readonly (readonly [path: string, leaf: Tensor])[]): Joined {
  const [first, ...rest] = entries.flatMap(([, leaf]) => (isSmall(leaf) ? [leaf.reshape([-1])] : []))
  return {
    small: first && concat([first, ...rest], 0),
    large: Object.fromEntries(entries.filter(([, leaf]) => !isSmall(leaf))),
  }
}

function pack(tree: unknown, decays: Choose): Packed {
  const entries = leaves(tree)
  return {
    decayed: join(entries.filter(([path, leaf]) => decays(path, leaf))),
    plain: join(entries.filter(([path, leaf]) => !decays(path, leaf))),
  }
}

function unpack<T>(like: T, packed: Packed, decays: Choose): T {
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
 * An elementwise optimizer with all small parameters updated as one vector (two, if some of them decay): a
 * transformer has a hundred norms and biases, and each would add a dozen nodes to the graph. The state holds them
 * joined. `make` is told how to see from the path of a joined leaf whether it decays.
 */
export function joinSmall<State>(
  decays: Choose,
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
