/**
 * A map from pairs of non-negative 32-bit integers to a value, in flat arrays: a Map keyed by strings or
 * objects would take an allocation and ten times as long for each look-up, and look-ups are all that merging does.
 */
export class PairTable {
  private mask: number
  private keys: Int32Array // left, right, left, right, ...; -1 where free
  private values: Int32Array
  private count = 0

  /** Room for `capacity` pairs; it grows. */
  constructor(capacity = 16) {
    let size = 32
    while (size < 2 * capacity) size *= 2
    this.mask = size - 1
    this.keys = new Int32Array(2 * size).fill(-1)
    this.values = new Int32Array(size)
  }

  get size(): number {
    return this.count
  }

  /** The value of a pair, or -1. */
  get(left: number, right: number): number {
    const slot = this.slot(left, right)
    return this.keys[2 * slot] === -1 ? -1 : this.values[slot]!
  }

  set(left: number, right: number, value: number): void {
    if (2 * this.count > this.mask) this.grow()
    const slot = this.slot(left, right)
    if (this.keys[2 * slot] === -1) this.count++
    this.keys[2 * slot] = left
    this.keys[2 * slot + 1] = right
    this.values[slot] = value
  }

  /** Where a pair is, or belongs: linear probing from a multiplicative hash. */
  private slot(left: number, right: number): number {
    const { keys, mask } = this
    const mixed = Math.imul(Math.imul(left, 0x9e3779b1) ^ right, 0x85ebca6b)
    let slot = (mixed ^ (mixed >>> 15)) & mask
    while (keys[2 * slot] !== -1 && (keys[2 * slot] !== left || keys[2 * slot + 1] !== right))
      slot = (slot + 1) & mask
    return slot
  }

  private grow(): void {
    const { keys, values } = this
    this.mask = 2 * this.mask + 1
    this.keys = new Int32Array(2 * (this.mask + 1)).fill(-1)
    this.values = new Int32Array(this.mask + 1)
    this.count = 0
    for (let slot = 0; slot < values.length; slot++) {
      if (keys[2 * slot] !== -1) this.set(keys[2 * slot]!, keys[2 * slot + 1]!, values[slot]!)
    }
  }
}
