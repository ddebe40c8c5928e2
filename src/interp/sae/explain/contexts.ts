/**
 * Contexts in which features are active, collected in one pass over a corpus in bounded memory.
 *
 * A context is a stretch of `length` tokens; it counts for a feature where the feature is active on one of its tokens.
 * Of each feature are kept: the `top` contexts with the largest activations, and `sample` others drawn from all that
 * count, each as likely. Sorted by their activations, the sample falls into quantiles of which all are as well
 * represented (Paulo et al. 2024 draw from ten of them; here the draw is made while streaming). Random contexts of the
 * corpus, `background` of them, tell where each feature is not active.
 */
import { random } from '../../../array/index.ts'
import type { PlacedRows } from './rows.ts'

/** Activations of features: what reads them of rows. */
export interface FeatureReader {
  /** How many features there are. */
  readonly count: number
  /** Rows [count, width] -> activations [count, features], above 0 where active. */
  readonly read: (rows: Float32Array, count: number) => Promise<Float32Array>
}

export interface CollectOptions {
  readonly rows: PlacedRows
  readonly reader: FeatureReader
  /** The corpus that the rows' places are in. */
  readonly tokens: Int32Array | Uint16Array
  /** Tokens of a context; 32 by default, as in the paper. */
  readonly length?: number
  readonly top?: number
  readonly sample?: number
  readonly background?: number
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
  readonly progress?: (done: number, of: number) => void
}

export interface ActiveContext {
  /** Its place in the corpus, in contexts. */
  readonly index: number
  readonly tokens: Int32Array | Uint16Array
  /** Of the feature, for each token. */
  readonly activations: Float32Array
}

/** What is known of one feature. */
export interface FeatureActivity {
  /** Share of the tokens on which it is active. */
  readonly density: number
  /** Contexts in which it is active, of all. */
  readonly contexts: number
  readonly largest: number
  /** Largest activation first. */
  readonly top: readonly ActiveContext[]
  /** Largest activation first: quantile q of Q is the q-th part of the list. */
  readonly sample: readonly ActiveContext[]
}

/** Best-of and reservoir of each feature, in flat arrays. */
class Store {
  readonly capacity: number
  readonly #length: number
  readonly #indices: Int32Array
  readonly #largest: Float32Array
  readonly #activations: Float32Array
  readonly filled: Int32Array

  constructor(features: number, capacity: number, length: number) {
    this.capacity = capacity
    this.#length = length
    this.#indices = new Int32Array(features * capacity)
    this.#largest = new Float32Array(features * capacity)
    this.#activations = new Float32Array(features * capacity * length)
    this.filled = new Int32Array(features)
  }

  /** Where the least of a full feature's contexts is. */
  least(feature: number): { readonly slot: number; readonly value: number } {
    const from = feature * this.capacity
    let slot = 0
    for (let i = 1; i < this.capacity; i++)
      if (this.#largest[from + i]! < this.#largest[from + slot]!) slot = i
    return { slot, value: this.#largest[from + slot]! }
  }

  /** `block` [length, features]: the activations of all features in a context. */
  put(feature: number, slot: number, index: number, largest: number, block: Float32Array): void {
    const at = feature * this.capacity + slot
    this.#indices[at] = index
    this.#largest[at] = largest
    const features = block.length / this.#length
    for (let i = 0; i < this.#length; i++)
      this.#activations[at * this.#length + i] = block[i * features + feature]!
    this.filled[feature] = Math.max(this.filled[feature]!, slot + 1)
  }

  of(feature: number, tokensOf: (index: number) => ActiveContext['tokens']): ActiveContext[] {
    const from = feature * this.capacity
    return Array.from({ length: this.filled[feature]! }, (_, i) => from + i)
      .sort((a, b) => this.#largest[b]! - this.#largest[a]! || this.#indices[a]! - this.#indices[b]!)
      .map((at) => ({
        index: this.#indices[at]!,
        tokens: tokensOf(this.#indices[at]!),
        activations: this.#activations.subarray(at * this.#length, (at + 1) * this.#length),
      }))
  }
}

/** What was collected; contexts of a feature are put together when they are asked for. */
export class Contexts {
  readonly length: number
  readonly features: number
  /** All contexts that were read. */
  readonly count: number
  /** Rows that were read: tokens with activations. */
  readonly rows: number
  /** How often each token occurs among them, by id. */
  readonly tokenCounts: Float64Array
  readonly #parts: CollectedParts

  constructor(parts: CollectedParts) {
    this.#parts = parts
    this.length = parts.length
    this.features = parts.active.length
    this.count = parts.count
    this.rows = parts.rows
    this.tokenCounts = parts.tokenCounts
  }

  #tokensOf = (index: number): ActiveContext['tokens'] =>
    this.#parts.tokens.subarray(index * this.length, (index + 1) * this.length)

  of(feature: number): FeatureActivity {
    const { top, sample, active, contexts, largest, rows } = this.#parts
    if (!(feature >= 0 && feature < this.features))
      throw new RangeError(`feature ${feature} of ${this.features}`)
    return {
      density: active[feature]! / rows,
      contexts: contexts[feature]!,
      largest: largest[feature]!,
      top: top.of(feature, this.#tokensOf),
      sample: sample.of(feature, this.#tokensOf),
    }
  }

  /** Random contexts of the corpus, and of each whether the feature is active in it. */
  background(feature: number): { readonly tokens: ActiveContext['tokens']; readonly active: boolean }[] {
    const { background, flags } = this.#parts
    return Array.from(background, (index, i) => ({
      tokens: this.#tokensOf(index),
      active: flags[i * this.features + feature] === 1,
    }))
  }
}

interface CollectedParts {
  readonly length: number
  readonly count: number
  readonly rows: number
  readonly tokens: Int32Array | Uint16Array
  readonly tokenCounts: Float64Array
  readonly top: Store
  readonly sample: Store
  /** Tokens and contexts with it, by feature. */
  readonly active: Float64Array
  readonly contexts: Float64Array
  readonly largest: Float32Array
  readonly background: Int32Array
  /** [background, features] */
  readonly flags: Uint8Array
}

export async function collectContexts(options: CollectOptions): Promise<Contexts> {
  const { rows, reader, tokens, length = 32, top = 20, sample = 100, background = 500, seed = 0 } = options
  const n = reader.count
  const uniform = random.generator(seed)
  const stores = { top: new Store(n, top, length), sample: new Store(n, sample, length) }
  const [active, contexts, largest] = [new Float64Array(n), new Float64Array(n), new Float32Array(n)]
  const [chosen, flags] = [new Int32Array(background), new Uint8Array(background * n)]
  let highest = 0
  for (const token of tokens) if (token > highest) highest = token
  const tokenCounts = new Float64Array(highest + 1)
  const [block, peaks] = [new Float32Array(length * n), new Float32Array(n)]
  let [current, count, rowCount] = [-1, 0, 0]

  const finish = (): void => {
    if (current < 0) return
    const slot = count < background ? count : Math.floor(uniform() * (count + 1))
    if (slot < background) {
      chosen[slot] = current
      for (let j = 0; j < n; j++) flags[slot * n + j] = Number(peaks[j]! > 0)
    }
    count++
    for (let j = 0; j < n; j++) {
      const peak = peaks[j]!
      if (peak <= 0) continue
      const seen = contexts[j]!++
      if (peak > largest[j]!) largest[j] = peak
      const filled = stores.top.filled[j]!
      if (filled < top) stores.top.put(j, filled, current, peak, block)
      else {
        const least = stores.top.least(j)
        if (peak > least.value) stores.top.put(j, least.slot, current, peak, block)
      }
      const at = seen < sample ? seen : Math.floor(uniform() * (seen + 1))
      if (at < sample) stores.sample.put(j, at, current, peak, block)
    }
    block.fill(0)
    peaks.fill(0)
  }

  for (let i = 0; i < rows.chunks; i++) {
    options.signal?.throwIfAborted()
    const chunk = await rows.at(i)
    const values = await reader.read(chunk.rows, chunk.places.length)
    chunk.places.forEach((place, row) => {
      if (place < 0) return
      const index = Math.floor(place / length)
      // A stretch that the corpus ends in is no context.
      if ((index + 1) * length > tokens.length) return
      if (index !== current) {
        if (index < current) throw new Error('collectContexts: rows have to come in the order of the corpus')
        finish()
        current = index
      }
      rowCount++
      tokenCounts[tokens[place]!]!++
      const to = (place % length) * n
      for (let j = 0; j < n; j++) {
        const value = values[row * n + j]!
        if (!(value > 0)) continue
        block[to + j] = value
        active[j]!++
        if (value > peaks[j]!) peaks[j] = value
      }
    })
    options.progress?.(i + 1, rows.chunks)
  }
  finish()
  if (count === 0) throw new Error('collectContexts: the corpus has no whole context')
  const kept = Math.min(count, background)
  return new Contexts({
    length,
    count,
    rows: rowCount,
    tokens,
    tokenCounts,
    ...stores,
    active,
    contexts,
    largest,
    background: chosen.subarray(0, kept),
    flags,
  })
}
