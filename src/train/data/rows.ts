/** Rows made from rows: parts, orders and mixtures, each a view that holds indices at most. */
import { random } from '../../array/index.ts'
import { permutation } from './random.ts'
import { stampFrom } from './stamp.ts'
import { checkIndex, type Rows } from './types.ts'

/** Rows in memory. */
export const rowsOf = <T>(all: readonly T[]): Rows<T> => ({
  length: all.length,
  at(index) {
    checkIndex(index, all.length)
    return all[index]!
  },
})

/** Each row through a function, whenever it is asked for. `name` says what the function does, for the stamp. */
export const mapRows = <T, U>(
  rows: Rows<T>,
  change: (row: T, index: number) => U,
  name?: string,
): Rows<U> => ({
  length: rows.length,
  stamp: name === undefined ? undefined : stampFrom(`map ${name}`, [rows]),
  at(index) {
    const row = rows.at(index)
    return row instanceof Promise ? row.then((found) => change(found, index)) : change(row, index)
  },
})

/** The rows at some indices, in their order. */
const pick = <T>(rows: Rows<T>, indices: Uint32Array, what: string): Rows<T> => ({
  length: indices.length,
  stamp: stampFrom(what, [rows]),
  at(index) {
    checkIndex(index, indices.length)
    return rows.at(indices[index]!)
  },
})

const part = <T>(rows: Rows<T>, from: number, to: number): Rows<T> => ({
  length: to - from,
  stamp: stampFrom(`${from} to ${to}`, [rows]),
  at(index) {
    checkIndex(index, to - from)
    return rows.at(from + index)
  },
})

/** The first rows; all of them if there are fewer. */
export const take = <T>(rows: Rows<T>, count: number): Rows<T> =>
  part(rows, 0, Math.min(checkCount(count), rows.length))

/** All but the first rows. */
export const skip = <T>(rows: Rows<T>, count: number): Rows<T> =>
  part(rows, Math.min(checkCount(count), rows.length), rows.length)

function checkCount(count: number): number {
  if (!Number.isInteger(count) || count < 0) throw new RangeError(`${count} is no count of rows`)
  return count
}

/** Rows after rows. */
export function concatRows<T>(...all: readonly Rows<T>[]): Rows<T> {
  const ends: number[] = []
  let length = 0
  for (const rows of all) {
    length += rows.length
    ends.push(length)
  }
  return {
    length,
    stamp: stampFrom('concat', all),
    at(index) {
      checkIndex(index, length)
      // The first part that ends behind the index.
      let [low, high] = [0, ends.length - 1]
      while (low < high) {
        const middle = (low + high) >> 1
        if (ends[middle]! > index) high = middle
        else low = middle + 1
      }
      return all[low]!.at(index - (ends[low - 1] ?? 0))
    },
  }
}

/** The order that a seed gives an epoch; each row once. */
export const shuffle = <T>(rows: Rows<T>, seed: number, epoch = 0): Rows<T> =>
  pick(rows, permutation(rows.length, seed, epoch), `shuffle ${seed} ${epoch}`)

export interface Split<T> {
  readonly train: Rows<T>
  readonly validation: Rows<T>
}

/** Sets a share of the rows aside (rounded, at least one), chosen by the seed; both parts keep their order. */
export function split<T>(
  rows: Rows<T>,
  { validation, seed = 0 }: { readonly validation: number; readonly seed?: number },
): Split<T> {
  const count = Math.max(1, Math.round(rows.length * validation))
  if (!(validation > 0 && validation < 1) || count >= rows.length)
    throw new RangeError(`a validation share of ${validation} does not part ${rows.length} rows in two`)
  const order = permutation(rows.length, seed)
  const name = (which: string): string => `${which} ${validation} ${seed}`
  return {
    train: pick(rows, order.slice(count).sort(), name('train')),
    validation: pick(rows, order.slice(0, count).sort(), name('validation')),
  }
}

export interface MixPart<T> {
  readonly rows: Rows<T>
  /** How often a row comes from here, in relation to the others. */
  readonly weight: number
}

export interface MixOptions {
  readonly seed?: number
  /**
   * When it ends: once the first part has no more rows (default), or once every row of every part has occurred,
   * shorter parts beginning anew meanwhile.
   */
  readonly until?: 'first' | 'all'
}

const longest = 2 ** 31

/** Draws from several parts by weight, each in its own order; the draws are the seed's. */
export function mix<T>(
  parts: readonly MixPart<T>[],
  { seed = 0, until = 'first' }: MixOptions = {},
): Rows<T> {
  const total = parts.reduce((sum, { weight }) => sum + weight, 0)
  for (const { rows, weight } of parts)
    if (!(weight > 0 && Number.isFinite(weight)) || rows.length === 0)
      throw new RangeError(
        `mix takes parts with rows and a weight above 0; got ${rows.length} rows, ${weight}`,
      )
  if (parts.length === 0) throw new RangeError('mix takes at least one part')
  const uniform = random.generator(random.fold(seed, parts.length))
  const drawn = parts.map(() => 0)
  const sources: number[] = []
  const places: number[] = []
  const done = until === 'all' ? drawn.map(() => false) : []
  for (;;) {
    let rest = uniform() * total
    let source = 0
    while (source < parts.length - 1 && rest >= parts[source]!.weight) rest -= parts[source++]!.weight
    const { length } = parts[source]!.rows
    if (until === 'first' && drawn[source] === length) break
    sources.push(source)
    places.push(drawn[source]!++ % length)
    if (until === 'all' && drawn[source] === length) {
      done[source] = true
      if (done.every(Boolean)) break
    }
    if (sources.length >= longest)
      throw new RangeError('a mixture of more than 2^31 rows: weights differ too much')
  }
  const from = Uint16Array.from(sources)
  const at = Uint32Array.from(places)
  const weights = parts.map(({ weight }) => weight).join(' ')
  return {
    length: from.length,
    stamp: stampFrom(
      `mix ${weights} ${seed} ${until}`,
      parts.map(({ rows }) => rows),
    ),
    at(index) {
      checkIndex(index, from.length)
      return parts[from[index]!]!.rows.at(at[index]!)
    },
  }
}
