/** Which rows make which batch, epoch after epoch. */
import { random } from '../../array/index.ts'
import { permutation } from './random.ts'

export interface OrderOptions {
  /** Rows of a batch. */
  readonly batch: number
  /** The order of each epoch; without one, rows come as they are. */
  readonly seed?: number | undefined
  /** Leave out the last batch of an epoch if it is short of rows (default false: it is a smaller one). */
  readonly dropLast?: boolean | undefined
}

/** Rows of similar length together: among so many batches at a time, rows are sorted by length. */
export interface Buckets {
  readonly batches: number
  lengthOf(row: number): number
}

/** The rows of each step; the same step, the same rows. */
export interface Order {
  readonly perEpoch: number
  rowsAt(step: number): Uint32Array
}

/** RangeError if there is not one batch. */
export function orderOf(
  length: number,
  { batch, seed, dropLast = false }: OrderOptions,
  buckets?: Buckets,
): Order {
  if (!Number.isInteger(batch) || batch < 1) throw new RangeError(`a batch of ${batch} rows`)
  if (buckets && !(Number.isInteger(buckets.batches) && buckets.batches > 0))
    throw new RangeError(`buckets of ${buckets.batches} batches`)
  const perEpoch = dropLast ? Math.floor(length / batch) : Math.ceil(length / batch)
  if (perEpoch === 0) throw new RangeError(`${length} rows make no batch of ${batch}`)
  const orderOfEpoch = (epoch: number): Uint32Array => {
    const order =
      seed === undefined ? Uint32Array.from({ length }, (_, row) => row) : permutation(length, seed, epoch)
    return buckets ? bucketed(order, batch, buckets, seed, epoch) : order
  }
  let last: { epoch: number; order: Uint32Array } | undefined
  return {
    perEpoch,
    rowsAt(step) {
      if (!Number.isInteger(step) || step < 0) throw new RangeError(`step ${step}: counted from 0`)
      const epoch = Math.floor(step / perEpoch)
      if (last?.epoch !== epoch) last = { epoch, order: orderOfEpoch(epoch) }
      const start = (step % perEpoch) * batch
      return last.order.subarray(start, Math.min(start + batch, length))
    },
  }
}

/** Sorts by length, longest first, within so many batches at a time; then the whole batches come in any order. */
function bucketed(
  order: Uint32Array,
  batch: number,
  { batches, lengthOf }: Buckets,
  seed: number | undefined,
  epoch: number,
): Uint32Array {
  for (let start = 0; start < order.length; start += batches * batch) {
    const bucket = [...order.subarray(start, start + batches * batch)]
    order.set(
      bucket.sort((a, b) => lengthOf(b) - lengthOf(a)),
      start,
    )
  }
  if (seed === undefined) return order
  const whole = Math.floor(order.length / batch)
  const result = order.slice()
  // Not the epoch's own stream, which has ordered the rows.
  const turns = permutation(whole, random.fold(seed, bucketPurpose), epoch)
  for (let at = 0; at < whole; at++)
    result.set(order.subarray(turns[at]! * batch, (turns[at]! + 1) * batch), at * batch)
  return result
}

const bucketPurpose = 0x6275
