/** Speed of generation: tokens one at a time, and prompts at once. */
import { tensor } from '../../array/index.ts'
import type { Cache, Model } from '../../model/index.ts'
import { median } from './measure.ts'

/** Drives a model's step program without sampling, as the peer does. */
export class Stepper {
  readonly #model: Model
  #cache: Cache

  constructor(model: Model, capacity: number) {
    this.#model = model
    this.#cache = model.newCache(1, capacity)
  }

  /** Milliseconds for a fresh prompt of pseudo-random tokens, logits of the last one. */
  async prefill(tokens: number, seed: number): Promise<number> {
    const { vocab } = this.#model.spec
    const ids = Array.from({ length: tokens }, (_, i) => (i * 7919 + seed * 104729) % vocab)
    const start = performance.now()
    await this.#step(ids, 0)
    return performance.now() - start
  }

  /** Median milliseconds of one token, greedy, after `context` tokens. */
  async decode(tokens: number, context: number): Promise<number> {
    await this.prefill(context, 1)
    const times: number[] = []
    let token = 5
    for (let i = 0; i < tokens; i++) {
      const start = performance.now()
      token = await this.#step([token], context + i)
      times.push(performance.now() - start)
    }
    return median(times)
  }

  async #step(ids: readonly number[], length: number): Promise<number> {
    const step = await this.#model.step({
      tokens: this.#model.rows([ids]),
      cache: this.#cache,
      lengths: tensor(Int32Array.of(length)),
      at: tensor(Int32Array.of(ids.length - 1)),
    })
    this.#cache = step.cache
    const logits = step.logits.data as Float32Array
    let best = 0
    for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
    step.logits.dispose()
    return best
  }
}
