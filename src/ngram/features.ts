/**
 * Features of what comes before a token: n-grams and skip-grams, each a number (Shazeer et al. 2015, section 4).
 *
 * A skip-gram has `remote` tokens, then a gap of `skip`, then the `adjacent` tokens in front of the target: for
 * "a b c d" before the target, remote 1, skip 2, adjacent 1 is "a _ _ d". With `upTo` it stands for all gaps from
 * `skip` to `upTo`, which are not told apart ("tied"); what is there over several gaps is there once.
 */
import * as z from 'zod'
import { PairTable } from './table.ts'

export const skipGramSchema = z.strictObject({
  remote: z.int().positive(),
  skip: z.int().positive(),
  upTo: z.int().positive().optional(),
  adjacent: z.int().nonnegative(),
})
export type SkipGram = z.output<typeof skipGramSchema>

export class Features {
  readonly order: number
  readonly skipGrams: readonly SkipGram[]
  /** Most features that a token can have. */
  readonly most: number
  /** How many kinds: one per length of an n-gram, then one per skip-gram. */
  readonly kinds: number
  /** The features of the last call of `read`. */
  readonly active: Int32Array
  readonly activeKinds: Int32Array
  /** A feature and the token that it goes on with, backwards from the target; kinds begin at roots of their own. */
  readonly table: PairTable
  readonly #begin: number

  /** `begin`: the token in front of a row. */
  constructor(order: number, skipGrams: readonly SkipGram[], begin: number, table = new PairTable()) {
    for (const { skip, upTo = skip } of skipGrams)
      if (upTo < skip) throw new RangeError(`a skip-gram over ${skip} to ${upTo} tokens skips none`)
    this.order = order
    this.skipGrams = skipGrams
    this.kinds = order + skipGrams.length
    this.most = skipGrams.reduce((sum, { skip, upTo = skip }) => sum + upTo - skip + 1, order)
    this.active = new Int32Array(this.most)
    this.activeKinds = new Int32Array(this.most)
    this.table = table
    this.#begin = begin
    // Roots: of the n-grams, then of each skip-gram. No token is below -1.
    for (let root = 0; root <= skipGrams.length; root++) table.add(-1, -2 - root)
  }

  get size(): number {
    return this.table.size
  }

  /** Puts the features of the target at `at` into `active`, and gives their count. New ones get numbers if `grow`. */
  read(row: ArrayLike<number>, at: number, grow: boolean): number {
    let count = this.#put(0, 0, 0)
    let feature = 0
    // The beginning of a row is a token; before it there is nothing.
    for (let length = 1; length < this.order && at - length >= -1; length++) {
      feature = this.#next(feature, row, at - length, grow)
      if (feature < 0) break
      count = this.#put(count, feature, length)
    }
    for (let i = 0; i < this.skipGrams.length; i++) {
      const { remote, skip, upTo = skip, adjacent } = this.skipGrams[i]!
      let near = 1 + i
      for (let back = 1; back <= adjacent && near >= 0; back++)
        near = at - back >= -1 ? this.#next(near, row, at - back, grow) : -1
      const first = count
      for (let gap = skip; gap <= upTo && near >= 0; gap++) {
        const last = at - adjacent - gap - remote
        if (last < -1) break
        let far = near
        for (let place = at - adjacent - gap - 1; place >= last && far >= 0; place--)
          far = this.#next(far, row, place, grow)
        if (far >= 0 && !this.#has(far, first, count)) count = this.#put(count, far, this.order + i)
      }
    }
    return count
  }

  #put(count: number, feature: number, kind: number): number {
    this.active[count] = feature
    this.activeKinds[count] = kind
    return count + 1
  }

  #has(feature: number, from: number, to: number): boolean {
    for (let i = from; i < to; i++) if (this.active[i] === feature) return true
    return false
  }

  #next(feature: number, row: ArrayLike<number>, at: number, grow: boolean): number {
    const token = at < 0 ? this.#begin : row[at]!
    return grow ? this.table.add(feature, token) : this.table.find(feature, token)
  }
}
