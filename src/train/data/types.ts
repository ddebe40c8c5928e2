/** What data is to a trainer: rows by index, batches by step. Random access makes a resumed run exact for free. */

/** Rows of a data set by index; the same index, the same row. */
export interface Rows<T> {
  readonly length: number
  /** RangeError for an index that is no whole number from 0 to `length - 1`. */
  at(index: number): T | Promise<T>
  /**
   * Differs when the rows do: names, sizes and times of the files that they come from, and what was done to
   * them. Undefined where nobody knows, as for rows in memory.
   */
  readonly stamp?: string | undefined
}

/** Batches by step; the same step, the same batch. */
export interface Batches<B> {
  /** Batches after which every row has been seen once; undefined for streams without end. */
  readonly perEpoch?: number
  at(step: number): B | Promise<B>
}

/** A row as it is stored: a JSON object, a line of a table, `{ text }`. */
export type Row = Readonly<Record<string, unknown>>

/** A corpus as one row of tokens. */
export interface TokenStream {
  readonly tokens: Int32Array | Uint16Array
  /** Where each document begins; the first at 0. */
  readonly starts: Int32Array
}

/** An index within `length`, else a RangeError. */
export function checkIndex(index: number, length: number, what = 'row'): void {
  if (!Number.isInteger(index) || index < 0 || index >= length)
    throw new RangeError(`${what} ${index} of ${length}: counted from 0 to ${length - 1}`)
}
