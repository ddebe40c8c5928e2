/** Scopes: what a block of code has computed is freed at its end, except what it hands out. */
import type { Tensor } from './tensor.ts'
import { leaves } from './tree.ts'

/**
 * Frees the tensors that it owns when it is disposed of:
 *
 *     using scope = new Scope()
 *     const { logits } = scope.own(await model.run(tokens))   // freed at the end of the block
 *     return scope.release(logits)                            // this one is not
 *
 * Memory that nobody frees is collected with its handle, but later: the garbage collector does not see its size.
 */
export class Scope {
  readonly #owned = new Set<Tensor>()

  /** Takes over the concrete tensors of a tree; gives the tree back. */
  own<T>(tree: T): T {
    for (const [, leaf] of leaves(tree)) if (leaf.source.kind === 'value') this.#owned.add(leaf)
    return tree
  }

  /** Lets go of the tensors of a tree: they outlive the scope. */
  release<T>(tree: T): T {
    for (const [, leaf] of leaves(tree)) this.#owned.delete(leaf)
    return tree
  }

  [Symbol.dispose](): void {
    for (const tensor of this.#owned) tensor.dispose()
    this.#owned.clear()
  }
}
