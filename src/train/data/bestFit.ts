/**
 * Packing by best fit decreasing: longest first, each into the bin that it leaves the least room in, else into a new
 * one. TRL's `bfd`; Ding et al. 2024, "Fewer Truncations Improve Language Modeling", https://arxiv.org/abs/2404.10830
 */

export interface Bins {
  /** The items of bin after bin. */
  readonly items: Uint32Array
  /** Where in `items` each bin begins, and behind the last its end. */
  readonly starts: Uint32Array
}

/** Bins of at most `size`, in the order in which they were begun; lengths from 1 to `size`. Equal ones in order. */
export function bestFit(lengths: ArrayLike<number>, size: number): Bins {
  const order = Uint32Array.from({ length: lengths.length }, (_, item) => item)
  order.sort((a, b) => lengths[b]! - lengths[a]! || a - b)
  const bins: number[][] = []
  const rooms = new Rooms(size)
  for (const item of order) {
    const length = lengths[item]!
    if (!(length >= 1 && length <= size)) throw new RangeError(`item ${item} of ${length} in bins of ${size}`)
    const room = rooms.smallest(length)
    const bin = room === undefined ? bins.push([]) - 1 : rooms.take(room)
    bins[bin]!.push(item)
    rooms.put((room ?? size) - length, bin)
  }
  const starts = new Uint32Array(bins.length + 1)
  for (const [bin, items] of bins.entries()) starts[bin + 1] = starts[bin]! + items.length
  return { items: Uint32Array.from(bins.flat()), starts }
}

/** Bins by the room that is left in them, first in, first out; and a bit for each room that some bin has. */
class Rooms {
  readonly #bins: { waiting: number[]; next: number }[]
  readonly #bits: Uint32Array

  constructor(size: number) {
    this.#bins = Array.from({ length: size + 1 }, () => ({ waiting: [], next: 0 }))
    this.#bits = new Uint32Array((size >> 5) + 1)
  }

  put(room: number, bin: number): void {
    if (room === 0) return
    this.#bins[room]!.waiting.push(bin)
    this.#bits[room >> 5]! |= 1 << (room & 31)
  }

  take(room: number): number {
    const queue = this.#bins[room]!
    const bin = queue.waiting[queue.next++]!
    if (queue.next === queue.waiting.length) {
      this.#bins[room] = { waiting: [], next: 0 }
      this.#bits[room >> 5]! &= ~(1 << (room & 31))
    }
    return bin
  }

  /** The least room that some bin has, of those that suffice. */
  smallest(length: number): number | undefined {
    let word = length >> 5
    let bits = this.#bits[word]! & (-1 << (length & 31))
    while (bits === 0) {
      if (++word === this.#bits.length) return undefined
      bits = this.#bits[word]!
    }
    return (word << 5) + 31 - Math.clz32(bits & -bits)
  }
}
