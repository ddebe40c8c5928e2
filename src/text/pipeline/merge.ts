import { PairTable } from './pairTable.ts'

/** A rule of byte-pair encoding: `left right` becomes `result`. Lower ranks go first, equal ones left to right. */
export interface Merge {
  readonly left: number
  readonly right: number
  readonly rank: number
  readonly result: number
}

/** Positions fit in 31 bits and ranks in 21, so that one double orders both. */
const positions = 2 ** 31

/**
 * Applies the merge of the lowest rank, leftmost first, until none applies: the definition of byte-pair
 * encoding. With a heap of candidates and a linked list of symbols it takes O(n log n), for any n.
 * Its arrays are kept between calls.
 */
export class Merger {
  private readonly table: PairTable // pair -> index into ranks and results
  private readonly ranks: Int32Array
  private readonly results: Int32Array
  private previous = new Int32Array(0)
  private next = new Int32Array(0)
  private heap = new Float64Array(0)
  private heapSize = 0

  constructor(merges: readonly Merge[]) {
    this.table = new PairTable(merges.length)
    this.ranks = Int32Array.from(merges, (merge) => merge.rank)
    this.results = Int32Array.from(merges, (merge) => merge.result)
    merges.forEach(({ left, right }, i) => {
      this.table.set(left, right, i)
    })
  }

  /**
   * Merges `symbols` in place. Where symbols joined, the first one's slot holds the result and the slots of
   * the others hold -1.
   */
  merge(symbols: Int32Array, length: number): void {
    this.reserve(length)
    const { previous, next } = this
    for (let i = 0; i < length; i++) {
      previous[i] = i - 1
      next[i] = i + 1
    }
    for (let i = 0; i + 1 < length; i++) this.propose(symbols, i, i + 1)
    while (this.heapSize > 0) {
      const top = this.pop()
      const rank = Math.floor(top / positions)
      const left = top - rank * positions
      const right = next[left]!
      if (symbols[left] === -1 || right >= length) continue
      const rule = this.table.get(symbols[left]!, symbols[right]!)
      if (rule < 0 || this.ranks[rule] !== rank) continue // one of the two has merged otherwise
      symbols[left] = this.results[rule]!
      symbols[right] = -1
      const after = next[right]!
      next[left] = after
      if (after < length) {
        previous[after] = left
        this.propose(symbols, left, after)
      }
      if (previous[left]! >= 0) this.propose(symbols, previous[left]!, left)
    }
  }

  private propose(symbols: Int32Array, left: number, right: number): void {
    const rule = this.table.get(symbols[left]!, symbols[right]!)
    if (rule >= 0) this.push(this.ranks[rule]! * positions + left)
  }

  private reserve(length: number): void {
    if (length <= this.next.length) return
    const size = Math.max(256, 2 ** Math.ceil(Math.log2(length)))
    this.previous = new Int32Array(size)
    this.next = new Int32Array(size)
    this.heap = new Float64Array(2 * size) // a merge takes one candidate and adds two at most
  }

  private push(value: number): void {
    const { heap } = this
    let i = this.heapSize++
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (heap[parent]! <= value) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = value
  }

  private pop(): number {
    const { heap } = this
    const top = heap[0]!
    const last = heap[--this.heapSize]!
    const size = this.heapSize
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= size) break
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++
      if (heap[child]! >= last) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = last
    return top
  }
}
