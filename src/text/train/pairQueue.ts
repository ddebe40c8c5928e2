/** Pairs by count: the most frequent first, of equals the one with the smallest ids. */

export interface Pairs {
  readonly left: readonly number[]
  readonly right: readonly number[]
}

/** A binary heap of pairs, each with the count that it had when it was put in. */
export class PairQueue {
  readonly #pairs: Pairs
  readonly #counts: number[] = []
  readonly #items: number[] = []

  constructor(pairs: Pairs) {
    this.#pairs = pairs
  }

  get size(): number {
    return this.#items.length
  }

  push(pair: number, count: number): void {
    this.#items.push(pair)
    this.#counts.push(count)
    let at = this.#items.length - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.#before(count, pair, parent)) break
      this.#move(parent, at)
      at = parent
    }
    this.#put(at, pair, count)
  }

  /** Takes the first pair out. The queue must not be empty. */
  pop(): { pair: number; count: number } {
    const first = { pair: this.#items[0]!, count: this.#counts[0]! }
    const pair = this.#items.pop()!
    const count = this.#counts.pop()!
    const size = this.#items.length
    if (size === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= size) break
      if (child + 1 < size && this.#before(this.#counts[child + 1]!, this.#items[child + 1]!, child)) child++
      if (!this.#before(this.#counts[child]!, this.#items[child]!, -1, count, pair)) break
      this.#move(child, at)
      at = child
    }
    this.#put(at, pair, count)
    return first
  }

  /** Whether a pair comes before the one in a slot, or before another pair. */
  #before(
    count: number,
    pair: number,
    slot: number,
    otherCount = this.#counts[slot]!,
    other = this.#items[slot]!,
  ): boolean {
    if (count !== otherCount) return count > otherCount
    const { left, right } = this.#pairs
    return left[pair]! !== left[other]! ? left[pair]! < left[other]! : right[pair]! < right[other]!
  }

  #move(from: number, to: number): void {
    this.#items[to] = this.#items[from]!
    this.#counts[to] = this.#counts[from]!
  }

  #put(at: number, pair: number, count: number): void {
    this.#items[at] = pair
    this.#counts[at] = count
  }
}
