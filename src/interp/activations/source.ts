/**
 * Activations of a model over a corpus, as rows: windows of the corpus go through the model, and what it has at the
 * sites for each token becomes a row of numbers. Chunk `i`, one forward pass, is the same at every call.
 */
import { type Tensor, tensor } from '../../array/index.ts'
import { type DecoderSpec, type Model, sites } from '../../model/index.ts'
import type { Tokenizer } from '../../text/index.ts'
import { PackedBatches } from '../../train/data/packed.ts'

export interface SourceOptions {
  readonly model: Model
  /** Documents one behind the other. */
  readonly tokens: Int32Array | Uint16Array
  /** Names of taps. Heads lie side by side: [..., heads, size] becomes one row of heads × size. */
  readonly sites: readonly string[]
  /** Tokens of a window, `begin` included. */
  readonly length: number
  /** Windows of a chunk: one forward pass. 8 by default. */
  readonly windows?: number
  /** A token put before each window. */
  readonly begin?: number | undefined
  /** Tokens whose activations are left out: those that begin, end and pad texts (`specialTokens`). */
  readonly exclude?: readonly number[]
  /**
   * Windows in the order of the seed, epoch after epoch without end, cut at another place in each. Without one: the
   * corpus once, in order, but for a last piece shorter than a window.
   */
  readonly seed?: number | undefined
}

/** Rows of one chunk. */
export interface Chunk {
  readonly count: number
  /** [count, width] row-major, by site. */
  readonly rows: Readonly<Record<string, Float32Array>>
}

/** Begin, end and padding of a tokenizer, as far as it has them. */
export const specialTokens = ({ bos, eos, pad }: Pick<Tokenizer, 'bos' | 'eos' | 'pad'>): number[] => [
  ...new Set([bos, eos, pad].filter((id) => id !== undefined)),
]

/** Throws for a site that has not one row of numbers (or one for each head) for each token. Unknown ones pass. */
function checkSite(spec: DecoderSpec, site: string): void {
  const legend = sites(spec).get(site)
  if (legend === undefined || /^batch T( \w+| [HK] D| H width)$/.test(legend)) return
  throw new Error(`the activations at '${site}' are [${legend}]: not one row of numbers for each token`)
}

export class ActivationSource {
  readonly options: SourceOptions
  /** How many chunks there are; without end where there is a seed. */
  readonly chunks: number
  readonly #taken: number
  readonly #exclude: ReadonlySet<number>
  readonly #packed: PackedBatches | undefined
  /** Of the last chunks, so that counting and computing one does not cut its windows twice. */
  readonly #cut = new Map<number, Int32Array>()

  constructor(options: SourceOptions) {
    const { model, tokens, length, windows = 8, begin, seed } = options
    if (options.sites.length === 0) throw new Error('activations: name one site at least')
    for (const site of options.sites) checkSite(model.spec, site)
    if (!Number.isInteger(length) || length < 1 || length > model.context)
      throw new RangeError(`activations: windows of ${length} tokens; the model takes 1 to ${model.context}`)
    if (!Number.isInteger(windows) || windows < 1) throw new RangeError(`activations: ${windows} windows`)
    this.options = { ...options, windows }
    this.#taken = begin === undefined ? length : length - 1
    if (this.#taken < 1) throw new RangeError('activations: a window has no room for more than its begin')
    this.#exclude = new Set(options.exclude)
    if (seed === undefined) {
      const whole = Math.floor(tokens.length / this.#taken)
      if (whole < 1) throw new RangeError(`${tokens.length} tokens are too few for a window of ${length}`)
      this.chunks = Math.ceil(whole / windows)
    } else {
      this.chunks = Number.POSITIVE_INFINITY
      this.#packed = new PackedBatches({ sources: [{ tokens }], batch: windows, length: this.#taken, seed })
    }
  }

  /** Tokens of a chunk, [windows, length]. */
  tokensOf(index: number): Tensor {
    const { length } = this.options
    const data = this.#windows(index)
    return tensor(data, [data.length / length, length])
  }

  #windows(index: number): Int32Array {
    if (!Number.isInteger(index) || index < 0 || index >= this.chunks)
      throw new RangeError(`chunk ${index} of ${this.chunks}`)
    const known = this.#cut.get(index)
    if (known) return known
    const { tokens, length, windows = 8, begin } = this.options
    const taken = this.#taken
    const packed = this.#packed?.at(index).tokens.data as Int32Array | undefined
    const first = index * windows
    const count = packed ? windows : Math.min(windows, Math.floor(tokens.length / taken) - first)
    const data = new Int32Array(count * length)
    for (let i = 0; i < count; i++) {
      const start = packed ? i * (taken + 1) : (first + i) * taken
      data.set((packed ?? tokens).subarray(start, start + taken), i * length + length - taken)
      if (begin !== undefined) data[i * length] = begin
    }
    if (this.#cut.size > 3) this.#cut.delete(this.#cut.keys().next().value!)
    this.#cut.set(index, data)
    return data
  }

  /** How many rows a chunk gives; no forward pass. */
  count(index: number): number {
    const data = this.#windows(index)
    if (this.#exclude.size === 0) return data.length
    let count = 0
    for (const token of data) if (!this.#exclude.has(token)) count++
    return count
  }

  /** Where the rows of a chunk of an ordered source come from: positions in the corpus, -1 for `begin`. */
  places(index: number): Int32Array {
    if (this.#packed) throw new Error('places: of a source in order, without a seed')
    const { length, windows = 8 } = this.options
    const data = this.#windows(index)
    const places = new Int32Array(this.count(index))
    let next = 0
    data.forEach((token, i) => {
      if (this.#exclude.has(token)) return
      const at = (i % length) - (length - this.#taken)
      const window = index * windows + Math.floor(i / length)
      places[next++] = at < 0 ? -1 : window * this.#taken + at
    })
    return places
  }

  /** The rows of a chunk. */
  async at(index: number): Promise<Chunk> {
    const { model, sites: names } = this.options
    const data = this.#windows(index)
    const count = this.count(index)
    const reads = await model.run(this.tokensOf(index), { read: names })
    const rows: Record<string, Float32Array> = {}
    for (const site of names) {
      const read = reads[site]!
      const all = (await read.load()) as Float32Array
      rows[site] = count === data.length ? all.slice() : this.#kept(all, data, count)
      read.dispose()
    }
    return { count, rows }
  }

  #kept(all: Float32Array, data: Int32Array, count: number): Float32Array {
    const width = all.length / data.length
    const kept = new Float32Array(count * width)
    let next = 0
    data.forEach((token, i) => {
      if (this.#exclude.has(token)) return
      kept.set(all.subarray(i * width, (i + 1) * width), next)
      next += width
    })
    return kept
  }
}
