/**
 * Batches of shuffled activations from a model that computes them as they are needed, through a bounded buffer.
 *
 * Half of the buffer is renewed at a time, as in SAELens and dictionary_learning: of what a round of forward passes
 * gives, the seed picks one half for this round's batches and one for those of the next, so each batch mixes rows of
 * two rounds. (There, a row may by chance stay longer than two rounds.) A batch is a function of the seed and its number:
 * a run that goes on at step n computes two rounds and has the same rows. Rows that fill no batch at the end of a
 * round, fewer than one batch, are left out.
 */
import { random, type Tensor, tensor } from '../../array/index.ts'
import { permutation } from '../../train/data/random.ts'
import type { Batches } from '../../train/index.ts'
import type { ActivationSource, Chunk } from './source.ts'

/** Activations by site, f32 [batch, width]. */
export type ActivationBatch = Readonly<Record<string, Tensor>>

export interface StreamOptions {
  /** With a seed of its own. */
  readonly source: ActivationSource
  /** Rows of a batch. */
  readonly batch: number
  /** Rows held in memory, of each site; 65,536 by default. */
  readonly buffer?: number
  readonly seed: number
  /** Factors of the activations, by site; 1 by default. See `normScale`. */
  readonly scale?: Readonly<Record<string, number>>
}

/** Where the batches of a round begin, and what they are drawn from. */
interface Round {
  readonly firstStep: number
  readonly batches: number
}

const [splitting, mixing] = [0x73706c, 0x6d6978]

export class ActivationStream implements Batches<ActivationBatch> {
  readonly #options: StreamOptions
  readonly #chunksPerRound: number
  readonly #rounds: Round[] = []
  readonly #blocks = new Map<number, Promise<Chunk>>()
  readonly #orders = new Map<number, { current: number; order: Uint32Array }>()

  constructor(options: StreamOptions) {
    const { source, batch, buffer = 65536 } = options
    const { length, windows = 8 } = source.options
    if (source.chunks !== Number.POSITIVE_INFINITY)
      throw new Error('activations: a stream needs a source with a seed, which has no end')
    if (!Number.isInteger(batch) || batch < 1) throw new RangeError(`activations: batches of ${batch} rows`)
    this.#chunksPerRound = Math.floor(buffer / 2 / (windows * length))
    if (this.#chunksPerRound < 1)
      throw new RangeError(
        `activations: a buffer of ${buffer} rows has no room for two chunks of ${windows} x ${length} tokens`,
      )
    this.#options = options
  }

  async at(step: number): Promise<ActivationBatch> {
    const { source, batch, scale = {} } = this.#options
    const index = this.#roundOf(step)
    const round = this.#rounds[index]!
    const [current, before] = await Promise.all([
      this.#block(index),
      index > 0 ? this.#block(index - 1) : undefined,
    ])
    const { order } = this.#order(index)
    const start = (step - round.firstStep) * batch
    const picked = order.subarray(start, start + batch)
    const names = source.options.sites
    return Object.fromEntries(
      names.map((site) => {
        const now = current.rows[site]!
        const past = before?.rows[site]
        const width = now.length / current.count
        const data = new Float32Array(batch * width)
        picked.forEach((row, i) => {
          const [from, at] = row < current.count ? [now, row] : [past!, row - current.count]
          data.set(from.subarray(at * width, (at + 1) * width), i * width)
        })
        const factor = scale[site] ?? 1
        if (factor !== 1) for (let i = 0; i < data.length; i++) data[i]! *= factor
        return [site, tensor(data, [batch, width])]
      }),
    )
  }

  #count(round: number): number {
    const { source } = this.#options
    let sum = 0
    for (let i = 0; i < this.#chunksPerRound; i++) sum += source.count(round * this.#chunksPerRound + i)
    return sum
  }

  /** Rows of a round that its own batches take; the others wait for the next. */
  #own = (count: number): number => Math.floor(count / 2)

  /** Counts tokens round by round up to the step; computes nothing. */
  #roundOf(step: number): number {
    const { batch } = this.#options
    if (!Number.isInteger(step) || step < 0) throw new RangeError(`step ${step}: counted from 0`)
    for (;;) {
      const last = this.#rounds.at(-1)
      if (last && step < last.firstStep + last.batches) break
      const next = this.#rounds.length
      const kept = next > 0 ? this.#waiting : 0
      const count = this.#count(next)
      const own = this.#own(count)
      this.#waiting = count - own
      const batches = Math.floor((own + kept) / batch)
      if (batches < 1)
        throw new RangeError(
          `activations: ${own + kept} rows of a buffer make no batch of ${batch}: enlarge it`,
        )
      this.#rounds.push({ firstStep: last ? last.firstStep + last.batches : 0, batches })
    }
    let [low, high] = [0, this.#rounds.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#rounds[middle]!.firstStep <= step) low = middle
      else high = middle - 1
    }
    return low
  }
  #waiting = 0

  /** What a round serves, in order: rows of its own block, and behind them (+ its count) those of the block before. */
  #order(round: number): { order: Uint32Array } {
    const known = this.#orders.get(round)
    if (known) return known
    const { seed } = this.#options
    const count = this.#count(round)
    const split = (index: number, size: number) => permutation(size, random.fold(seed, splitting), index)
    const own = split(round, count).subarray(0, this.#own(count))
    const beforeCount = round > 0 ? this.#count(round - 1) : 0
    const kept = round > 0 ? split(round - 1, beforeCount).subarray(this.#own(beforeCount)) : []
    const pool = new Uint32Array(own.length + kept.length)
    pool.set(own)
    pool.set(
      Array.from(kept, (row) => row + count),
      own.length,
    )
    const order = permutation(pool.length, random.fold(seed, mixing), round).map((at) => pool[at]!)
    this.#orders.clear()
    const made = { current: count, order }
    this.#orders.set(round, made)
    return made
  }

  #block(round: number): Promise<Chunk> {
    const known = this.#blocks.get(round)
    if (known) return known
    const made = this.#compute(round)
    this.#blocks.set(round, made)
    for (const old of this.#blocks.keys()) if (old < round - 1 || old > round + 1) this.#blocks.delete(old)
    // A pass that failed is tried again at the next call.
    made.catch(() => this.#blocks.delete(round))
    return made
  }

  async #compute(round: number): Promise<Chunk> {
    const { source } = this.#options
    const count = this.#count(round)
    const rows: Record<string, Float32Array> = {}
    let at = 0
    for (let i = 0; i < this.#chunksPerRound; i++) {
      const chunk = await source.at(round * this.#chunksPerRound + i)
      for (const site of source.options.sites) {
        const part = chunk.rows[site]!
        const width = chunk.count > 0 ? part.length / chunk.count : 0
        rows[site] ??= new Float32Array(count * width)
        rows[site]!.set(part, at * width)
      }
      at += chunk.count
    }
    return { count, rows }
  }
}
