/**
 * Batches of windows cut from long rows of tokens, mixed by weight.
 *
 * Everything is a function of the seed and the batch's number: a run that is resumed asks for the next number and
 * goes on exactly where it stopped.
 */
import { random, type Tensor, tensor } from '../../array/index.ts'
import { shuffled } from './random.ts'

/** Documents one behind the other. */
export interface TokenSource {
  readonly tokens: Int32Array | Uint16Array
  /** Share of the windows, relative to the other sources; its share of the tokens by default. */
  readonly weight?: number | undefined
}

export interface PackedOptions {
  readonly sources: readonly TokenSource[]
  /** Rows of a batch. */
  readonly batch: number
  /** Tokens that a row predicts. */
  readonly length: number
  readonly seed: number
}

/** Rows are dealt in blocks in which every source has its share, to the nearest row. */
const blockRows = 1000

export class PackedBatches {
  readonly #windows: readonly Windows[]
  readonly #shares: readonly number[]
  readonly #options: PackedOptions
  #block: { readonly index: number; readonly rows: readonly Row[] } | undefined

  constructor(options: PackedOptions) {
    const { sources, length, seed } = options
    if (sources.length === 0) throw new Error('there are no tokens to train on')
    this.#options = options
    this.#windows = sources.map(({ tokens }, i) => new Windows(tokens, length, random.fold(seed, i)))
    this.#shares = deal(sources.map(({ tokens, weight }) => weight ?? tokens.length))
  }

  /** Tokens that were predicted once when a source has been seen as a whole, by source. */
  get epochs(): readonly number[] {
    return this.#windows.map(({ count }, i) =>
      this.#shares[i] === 0
        ? Number.POSITIVE_INFINITY
        : (count * blockRows) / this.#shares[i]! / this.#options.batch,
    )
  }

  /** Batch `index`, the same at every call: tokens i32 [batch, length + 1]. */
  at(index: number): { readonly tokens: Tensor } {
    const { batch, length } = this.#options
    const rows = new Int32Array(batch * (length + 1))
    for (let i = 0; i < batch; i++) {
      const { source, window } = this.#row(index * batch + i)
      rows.set(this.#windows[source]!.at(window), i * (length + 1))
    }
    return { tokens: tensor(rows, [batch, length + 1]) }
  }

  #row(index: number): Row {
    const block = Math.floor(index / blockRows)
    if (this.#block?.index !== block) this.#block = { index: block, rows: this.#makeBlock(block) }
    return this.#block.rows[index % blockRows]!
  }

  #makeBlock(block: number): Row[] {
    const shares = this.#shares
    const order = shuffled(
      shares.flatMap((share, source) => new Array<number>(share).fill(source)),
      random.fold(random.fold(this.#options.seed, 0x626c6b), block),
    )
    // Each source in its own order, so that none of its windows comes again before all have come.
    const next = shares.map((share) => block * share)
    return order.map((source) => ({ source, window: next[source]!++ }))
  }
}

interface Row {
  readonly source: number
  /** How many windows of this source came before. */
  readonly window: number
}

/** The windows of one source: each epoch cuts at another place and has another order. */
class Windows {
  readonly count: number
  readonly #tokens: TokenSource['tokens']
  readonly #length: number
  readonly #seed: number
  readonly #epochs = new Map<number, { readonly offset: number; readonly order: readonly number[] }>()

  constructor(tokens: TokenSource['tokens'], length: number, seed: number) {
    // One less than fit, so that the first can begin anywhere in the first window.
    this.count = Math.floor(tokens.length / length) - 1
    if (this.count < 1)
      throw new RangeError(`${tokens.length} tokens are too few for windows of ${length}: two are needed`)
    this.#tokens = tokens
    this.#length = length
    this.#seed = seed
  }

  /** Window `index` of the endless sequence of epochs, length + 1 tokens. */
  at(index: number): TokenSource['tokens'] {
    const { offset, order } = this.#epoch(Math.floor(index / this.count))
    const start = offset + order[index % this.count]! * this.#length
    return this.#tokens.subarray(start, start + this.#length + 1)
  }

  #epoch(epoch: number) {
    const known = this.#epochs.get(epoch)
    if (known) return known
    const seed = random.fold(this.#seed, epoch)
    const order = shuffled(
      Array.from({ length: this.count }, (_, i) => i),
      seed,
    )
    const made = { offset: Math.floor(random.generator(random.fold(seed, 1))() * this.#length), order }
    // A batch may reach from one epoch into the next.
    if (this.#epochs.size > 1) this.#epochs.delete(Math.min(...this.#epochs.keys()))
    this.#epochs.set(epoch, made)
    return made
  }
}

/** Whole rows of a block for each weight, by largest remainders. */
function deal(weights: readonly number[]): number[] {
  const total = weights.reduce((a, b) => a + b, 0)
  if (!(total > 0) || weights.some((weight) => !(weight >= 0)))
    throw new RangeError(`weights of sources must not be negative, and not all zero: ${weights.join(', ')}`)
  const exact = weights.map((weight) => (weight / total) * blockRows)
  const shares = exact.map(Math.floor)
  const left = blockRows - shares.reduce((a, b) => a + b, 0)
  const byRemainder = exact.map((_, i) => i).sort((a, b) => (exact[b]! % 1) - (exact[a]! % 1) || a - b)
  for (const i of byRemainder.slice(0, left)) shares[i]!++
  return shares
}

/** Windows that cover a held-out row of tokens once, in order: batches of [rows, length + 1]. */
export function coveringBatches(
  tokens: TokenSource['tokens'],
  { batch, length }: Pick<PackedOptions, 'batch' | 'length'>,
): { readonly count: number; at(index: number): { readonly tokens: Tensor } } {
  const windows = Math.floor((tokens.length - 1) / length)
  if (windows < 1) throw new RangeError(`${tokens.length} tokens are too few for a window of ${length}`)
  return {
    count: Math.ceil(windows / batch),
    at(index) {
      const rows = Math.min(batch, windows - index * batch)
      const data = new Int32Array(rows * (length + 1))
      for (let i = 0; i < rows; i++) {
        const start = (index * batch + i) * length
        data.set(tokens.subarray(start, start + length + 1), i * (length + 1))
      }
      return { tokens: tensor(data, [rows, length + 1]) }
    },
  }
}
