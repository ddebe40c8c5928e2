/** What one generation leaves for the next: the cache of its row, and the tokens that are in it. */

import { grownCache, remembersEvery } from '../model/cache.ts'
import { sameEdits } from '../model/edits.ts'
import type { Cache, Model, TapOptions } from '../model/index.ts'

interface Held {
  readonly model: Model
  readonly edit: TapOptions['edit']
  readonly cache: Cache
  /** Those in the cache, in their order. */
  readonly tokens: readonly number[]
}

/** A cache to go on with: `length` tokens of the prompt are in it. */
export interface Start {
  readonly cache: Cache
  readonly length: number
}

/**
 * Given to `generate` again and again, it spares the reading of what a prompt begins with and the last one had: the
 * longest common prefix. A state cannot be taken back, so that a state-space model goes on only from all of the tokens
 * that it has seen. A cache is that of one model with its adapters and edits; for others it begins anew.
 */
export class PromptCache {
  #held: Held | undefined
  #reused = 0

  /** Tokens of the last prompt that did not have to be read. */
  get reused(): number {
    return this.#reused
  }

  /** Tokens that the next prompt may begin with. */
  get tokens(): readonly number[] {
    return this.#held?.tokens ?? []
  }

  /** Forgets everything, and lets the memory go. */
  clear(): void {
    release(this.#held?.cache)
    this.#held = undefined
  }

  /**
   * A cache of at least `capacity` tokens for the prompt, which is taken away: steps write into it, and a second
   * generation beside this one begins anew.
   */
  async take(
    model: Model,
    edit: TapOptions['edit'],
    prompt: readonly number[],
    capacity: number,
  ): Promise<Start> {
    const held = this.#held
    this.#held = undefined
    const length = held && held.model === model && sameEdits(held.edit, edit) ? usable(held, prompt) : 0
    this.#reused = length
    if (!held || length === 0) {
      release(held?.cache)
      return { cache: model.newCache(1, capacity), length: 0 }
    }
    const cache = await grownCache(held.cache, model.prefixLength + capacity)
    if (cache !== held.cache) release(held.cache, cache)
    return { cache, length }
  }

  /** Keeps a cache that holds the first `length` of these tokens. */
  keep(
    model: Model,
    edit: TapOptions['edit'],
    cache: Cache,
    tokens: readonly number[],
    length: number,
  ): void {
    this.clear()
    this.#held = { model, edit, cache, tokens: tokens.slice(0, length) }
  }
}

/** Tokens of the prompt that the cache answers for; the last one is always read, for its logits. */
function usable({ cache, tokens }: Held, prompt: readonly number[]): number {
  const most = Math.min(tokens.length, prompt.length - 1)
  let common = 0
  while (common < most && tokens[common] === prompt[common]) common++
  return remembersEvery(cache) || common === tokens.length ? common : 0
}

/** Frees the memory of a cache, but for what `kept` has too. */
function release(cache: Cache = [], kept: Cache = []): void {
  const still = new Set(kept.flatMap((layer) => Object.values(layer)))
  for (const tensor of cache.flatMap((layer) => Object.values(layer)))
    if (!still.has(tensor)) tensor.dispose()
}
