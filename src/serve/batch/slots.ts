/**
 * The cache of a batch: one slot a row, its layers side by side in memory, so that neighbouring slots are the cache of
 * a batch as they lie. Rows come and go without a copy of the others.
 */
import { type Tensor, tensor } from '../../array/index.ts'
import type { Cache, LayerCache } from '../../model/cache.ts'
import type { Model } from '../../model/index.ts'

/** One tensor of one layer, for one slot. */
interface Piece {
  readonly name: string
  /** What an empty slot holds: a prefix's keys and values, or a state of zeros. */
  readonly blank: Float32Array
  /** [heads, positions, size] for keys and values, with the prefix's positions alone. */
  readonly shape: readonly number[]
  /** Whether it has a row of memory for each position. */
  readonly grows: boolean
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** What a slot of a model's cache is made of. */
export class Layout {
  readonly layers: readonly (readonly Piece[])[]
  /** Positions that a prefix takes before the tokens. */
  readonly offset: number
  /** Whether each token has a place of its own, so that the last ones can be taken back. */
  readonly remembersEvery: boolean
  /** Bytes of a slot without tokens, and of a token. */
  readonly #fixed: number
  readonly #each: number

  private constructor(layers: readonly (readonly Piece[])[], offset: number) {
    this.layers = layers
    this.offset = offset
    const all = layers.flat()
    this.remembersEvery = all.every(({ grows }) => grows)
    const each = all.map(({ grows, shape: [heads, , size] }) => (grows ? 4 * heads! * size! : 0))
    this.#each = each.reduce((a, b) => a + b, 0)
    const states = all.map(({ grows, shape }) => (grows ? 0 : 4 * product(shape)))
    this.#fixed = states.reduce((a, b) => a + b, 0) + offset * this.#each
  }

  static async of(model: Model): Promise<Layout> {
    const offset = model.prefixLength
    const layers: Piece[][] = []
    for (const layer of model.newCache(1, 1)) {
      const own: Piece[] = []
      for (const [name, held] of Object.entries(layer) as [string, Tensor][]) {
        const values = (await held.load()) as Float32Array
        const shape = held.sizes.slice(1)
        const grows = name === 'keys' || name === 'values'
        if (!grows) own.push({ name, blank: values.slice(), shape, grows })
        else {
          const [heads, positions, size] = shape as [number, number, number]
          const blank = new Float32Array(heads * offset * size)
          for (let head = 0; head < heads; head++) {
            const from = head * positions * size
            blank.set(values.subarray(from, from + offset * size), head * offset * size)
          }
          own.push({ name, blank, shape: [heads, offset, size], grows })
        }
      }
      layers.push(own)
    }
    return new Layout(layers, offset)
  }

  /** Bytes that `count` slots for so many tokens take. */
  bytes(count: number, capacity: number): number {
    return count * (this.#fixed + this.#each * capacity)
  }
}

/** A piece for all slots: f32 [slots, ...shape]. */
interface Plane extends Piece {
  shape: readonly number[]
  data: Float32Array
}

export class Slots {
  readonly #layout: Layout
  readonly #layers: readonly (readonly Plane[])[]
  /** Tokens that each slot holds, in their order. */
  readonly tokens: number[][] = []
  #capacity = 0

  /** None at first: see `resize`. */
  constructor(layout: Layout) {
    this.#layout = layout
    this.#layers = layout.layers.map((pieces) =>
      pieces.map((piece) => ({ ...piece, data: new Float32Array(0) })),
    )
  }

  get remembersEvery(): boolean {
    return this.#layout.remembersEvery
  }

  get bytes(): number {
    return this.#layout.bytes(this.count, this.capacity)
  }

  get count(): number {
    return this.tokens.length
  }

  /** Tokens that a slot has room for. */
  get capacity(): number {
    return this.#capacity
  }

  /** Another number of slots or more room in each. The first slots keep what they hold; the others forget it. */
  resize(count: number, capacity: number): void {
    const kept = Math.min(count, this.count)
    for (const plane of this.#layers.flat()) {
      const [from, size] = [plane.shape, plane.shape[2]!]
      const to = plane.grows ? [from[0]!, capacity + this.#layout.offset, size] : from
      const data = new Float32Array(count * product(to))
      const rows = plane.grows ? kept * from[0]! : kept
      const [before, after] = plane.grows ? [from[1]! * size, to[1]! * size] : [product(from), product(to)]
      for (let row = 0; row < rows; row++) {
        const start = row * before
        data.set(plane.data.subarray(start, start + Math.min(before, after)), row * after)
      }
      plane.shape = to
      plane.data = data
    }
    this.#capacity = capacity
    this.tokens.length = kept
    while (this.tokens.length < count) this.clear(this.tokens.push([]) - 1)
  }

  /** Makes a slot as it is before the first token. */
  clear(slot: number): void {
    this.tokens[slot] = []
    for (const { grows, shape, blank, data } of this.#layers.flat()) {
      const size = product(shape)
      const pieces = grows ? shape[0]! : 1
      const width = blank.length / pieces
      for (let i = 0; i < pieces; i++)
        data.set(blank.subarray(i * width, (i + 1) * width), slot * size + (i * size) / pieces)
    }
  }

  /** Forgets all but the first `length` tokens of a slot. */
  cut(slot: number, length: number): void {
    if (length === 0) this.clear(slot)
    else this.tokens[slot]!.length = length
  }

  /** Copies the first `length` tokens of one slot to another one. */
  copy(from: number, to: number, length: number): void {
    for (const { data, size, start, width } of this.#stretches(length))
      data.copyWithin(start + to * size, start + from * size, start + from * size + width)
    this.tokens[to] = this.tokens[from]!.slice(0, length)
  }

  /** Exchanges what two slots hold. */
  swap(a: number, b: number): void {
    if (a === b) return
    const { tokens } = this
    const most = Math.max(tokens[a]!.length, tokens[b]!.length)
    for (const { data, size, start, width } of this.#stretches(most)) {
      const [left, right] = [start + a * size, start + b * size]
      const kept = data.slice(left, left + width)
      data.copyWithin(left, right, right + width)
      data.set(kept, right)
    }
    const held = tokens[a]!
    tokens[a] = tokens[b]!
    tokens[b] = held
  }

  /** Where the first `length` tokens of the first slot lie; those of the others are `size` further on each. */
  *#stretches(length: number): Generator<{ data: Float32Array; size: number; start: number; width: number }> {
    for (const { data, shape, grows } of this.#layers.flat()) {
      const size = product(shape)
      const heads = grows ? shape[0]! : 1
      const width = grows ? (this.#layout.offset + length) * shape[2]! : size
      for (let head = 0; head < heads; head++) yield { data, size, start: (head * size) / heads, width }
    }
  }

  /** `count` slots from `from` on, as the cache of a batch. */
  cache(from: number, count: number): Cache {
    return this.#layers.map(
      (planes) =>
        Object.fromEntries(
          planes.map(({ name, data, shape }) => {
            const size = product(shape)
            const rows = data.subarray(from * size, (from + count) * size)
            return [name, tensor(rows, [count, ...shape])]
          }),
        ) as unknown as LayerCache,
    )
  }

  /** Takes in the cache that a step has given for the slots from `from` on, where it was not written in place. */
  async keep(from: number, cache: Cache): Promise<void> {
    for (const [i, planes] of this.#layers.entries())
      for (const { name, data, shape } of planes) {
        const given = (cache[i] as unknown as Record<string, Tensor>)[name]!
        const values = (await given.load()) as Float32Array
        const at = from * product(shape)
        if (values.buffer === data.buffer && values.byteOffset === data.byteOffset + 4 * at) continue
        data.set(values, at)
        given.dispose()
      }
  }

  /** The longest common beginning of the tokens of a slot and of a prompt that it can go on from. */
  common(slot: number, prompt: readonly number[]): number {
    const held = this.tokens[slot]!
    // The last token of the prompt is always read, for its logits.
    const most = Math.min(held.length, prompt.length - 1)
    let length = 0
    while (length < most && held[length] === prompt[length]) length++
    return this.remembersEvery || length === held.length ? length : 0
  }
}
