/** Numbers for pairs (context, token), given in the order in which they come: a hash table in typed arrays. */

/** One level of a tree of n-grams: a pair of the number of the context and the token behind it has a number too. */
export class PairTable {
  #contexts = new Int32Array(1024)
  #tokens = new Int32Array(1024)
  /** Numbers plus one by hash; 0 is free. */
  #slots = new Int32Array(4096)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Of the pairs, by their numbers. */
  get contexts(): Int32Array {
    return this.#contexts.subarray(0, this.#size)
  }

  get tokens(): Int32Array {
    return this.#tokens.subarray(0, this.#size)
  }

  /** The pair's number; a new pair gets `size`. */
  add(context: number, token: number): number {
    let slot = this.#slotOf(context, token)
    const found = this.#slots[slot]!
    if (found > 0) return found - 1
    if (this.#size === this.#contexts.length) {
      this.#grow()
      slot = this.#slotOf(context, token)
    }
    this.#contexts[this.#size] = context
    this.#tokens[this.#size] = token
    this.#slots[slot] = ++this.#size
    return this.#size - 1
  }

  /** The pair's number, or -1. */
  find(context: number, token: number): number {
    return this.#slots[this.#slotOf(context, token)]! - 1
  }

  /** Where the pair is, or the free place where it belongs. */
  #slotOf(context: number, token: number): number {
    const last = this.#slots.length - 1
    let slot = hashPair(context, token) & last
    for (;;) {
      const at = this.#slots[slot]! - 1
      if (at < 0 || (this.#contexts[at] === context && this.#tokens[at] === token)) return slot
      slot = (slot + 1) & last
    }
  }

  #grow(): void {
    const larger = (old: Int32Array) => {
      const array = new Int32Array(old.length * 2)
      array.set(old)
      return array
    }
    this.#contexts = larger(this.#contexts)
    this.#tokens = larger(this.#tokens)
    // At most half full: probes stay short.
    if (this.#contexts.length * 2 <= this.#slots.length) return
    this.#slots = new Int32Array(this.#slots.length * 2)
    for (let i = 0; i < this.#size; i++)
      this.#slots[this.#slotOf(this.#contexts[i]!, this.#tokens[i]!)] = i + 1
  }
}

/** 32 bits of a pair of integers. */
export function hashPair(a: number, b: number): number {
  let x = Math.imul(a, 0x9e3779b1) ^ Math.imul(b + 0x7f4a7c15, 0x85ebca77)
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d)
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39)
  return (x ^ (x >>> 15)) >>> 0
}
