/**
 * What a relative frequency is multiplied with in a sparse non-negative matrix: exp(A), A the sum of weights of
 * meta-features, which are hashed into one table. Meta-features are the kind of the feature, the feature, the target, how
 * often the feature was seen and how often with this target, and pairs of these.
 */
import { hashPair } from './table.ts'

/** Meta-features of an entry of the matrix. */
const count = 7

export class Adjustment {
  readonly weights: Float32Array
  readonly #squares: Float32Array
  readonly #slots = new Int32Array(count)
  readonly #rate: number

  /** `bits`: of the table's size. AdaGrad of this rate, sums of squares beginning at 1. */
  constructor(bits: number, rate: number, weights = new Float32Array(2 ** bits)) {
    if (weights.length !== 2 ** bits)
      throw new RangeError(`an adjustment of ${bits} bits has ${weights.length} weights`)
    this.weights = weights
    this.#squares = new Float32Array(2 ** bits).fill(1)
    this.#rate = rate
  }

  /** A of an entry; `change` then changes the weights of these meta-features. */
  of(kind: number, feature: number, target: number, seen: number, together: number): number {
    const [seenBucket, bucket] = [bucketOf(seen), bucketOf(together)]
    const both = (seenBucket << 8) | bucket
    const [slots, weights] = [this.#slots, this.weights]
    const last = weights.length - 1
    slots[0] = hashPair(kind, 0x1000000) & last
    slots[1] = hashPair(kind, 0x2000000 + seenBucket) & last
    slots[2] = hashPair(kind, 0x3000000 + bucket) & last
    slots[3] = hashPair(kind, 0x4000000 + both) & last
    slots[4] = hashPair(feature, 0x5000000) & last
    slots[5] = hashPair(target, 0x6000000 + kind) & last
    slots[6] = hashPair(feature, 0x7000000 + bucket) & last
    let sum = 0
    for (let i = 0; i < count; i++) sum += weights[slots[i]!]!
    return sum
  }

  /** A step against the gradient of the loss with respect to the A that was asked for last. */
  change(gradient: number): void {
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[i]!
      this.#squares[slot]! += gradient * gradient
      this.weights[slot]! -= (this.#rate * gradient) / Math.sqrt(this.#squares[slot]!)
    }
  }
}

/** 1, 2, 3, 4 each its own, then two buckets for each power of two. */
const bucketOf = (seen: number): number => (seen <= 4 ? seen : Math.floor(2 * Math.log2(seen)) + 1)
