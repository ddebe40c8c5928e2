/** Batches of rows side by side, each as long as its longest, filled up at the end. */
import { type Tensor, tensor } from '../../array/index.ts'
import type { PreferenceTokens, TrainingTokens } from './encode.ts'
import { type Buckets, type OrderOptions, orderOf } from './order.ts'
import type { Batches, Rows } from './types.ts'

export interface TokenBatch {
  /** i32 [batch, T]. */
  readonly tokens: Tensor
  /** f32 [batch, T]: 1 for tokens to learn, else 0. The first has nothing before it, and is none. */
  readonly mask: Tensor
}

export interface PaddedBatch extends TokenBatch {
  /** How many of its rows were cut. */
  readonly cut: number
}

/** Rows with a number each: a class, a stance, a rating. */
export interface LabelledBatch extends PaddedBatch {
  /** f32 [batch]. */
  readonly labels: Tensor
}

export interface PairBatch {
  readonly chosen: TokenBatch
  readonly rejected: TokenBatch
  /** How many of its pairs were cut, on either side. */
  readonly cut: number
}

export interface PaddedOptions extends OrderOptions {
  /** The most tokens of a row. */
  readonly length: number
  /**
   * What happens to longer rows: an error that names the row (default), only their beginning is used, or they are
   * left out, for which all rows are read once before the first batch.
   */
  readonly tooLong?: 'error' | 'cut' | 'drop'
  /** What rows are filled up with; being no target and behind all others, it can be any token (default 0). */
  readonly pad?: number
  /** T is a multiple of this, up to `length` (default 1). */
  readonly multipleOf?: number
  /**
   * Sorts the rows of so many batches by length, so that a batch has little padding. All rows are read once
   * before the first batch. Default 0: no sorting.
   */
  readonly buckets?: number
}

export interface PaddedBatches<B> extends Batches<B> {
  readonly perEpoch: number
  /** Rows left out because they are too long. */
  readonly dropped: number
  at(step: number): Promise<B>
}

/** Rows for training, padded. A row without a target in its first `length` tokens is an error: it teaches nothing. */
export const padded = (
  rows: Rows<TrainingTokens>,
  options: PaddedOptions,
): Promise<PaddedBatches<PaddedBatch>> =>
  makeBatches(
    rows,
    options,
    ({ tokens }) => tokens.length,
    (chosen, indices) => {
      const { cut, ...batch } = collate(chosen, indices, options)
      return { ...batch, cut: cut.size }
    },
  )

/** The same with the label of each row. */
export const paddedLabels = (
  rows: Rows<TrainingTokens & { readonly label: number }>,
  options: PaddedOptions,
): Promise<PaddedBatches<LabelledBatch>> =>
  makeBatches(
    rows,
    options,
    ({ tokens }) => tokens.length,
    (chosen, indices) => {
      const { cut, ...batch } = collate(chosen, indices, options)
      return { ...batch, labels: tensor(Float32Array.from(chosen, ({ label }) => label)), cut: cut.size }
    },
  )

/** Pairs for training on preferences, padded: row i of `chosen` and of `rejected` have the same prompt. */
export const paddedPairs = (
  rows: Rows<PreferenceTokens>,
  options: PaddedOptions,
): Promise<PaddedBatches<PairBatch>> =>
  makeBatches(
    rows,
    options,
    ({ prompt, chosen, rejected }) => prompt.length + Math.max(chosen.length, rejected.length),
    (pairs, indices) => {
      const [chosen, rejected] = (['chosen', 'rejected'] as const).map((side) =>
        collate(
          pairs.map((pair) => sequence(pair, side)),
          indices,
          options,
        ),
      ) as [Collated, Collated]
      const cut = new Set([...chosen.cut, ...rejected.cut]).size
      const batch = ({ tokens, mask }: Collated): TokenBatch => ({ tokens, mask })
      return { chosen: batch(chosen), rejected: batch(rejected), cut }
    },
  )

const sequence = (pair: PreferenceTokens, side: 'chosen' | 'rejected'): TrainingTokens => ({
  tokens: [...pair.prompt, ...pair[side]],
  trained: [...pair.prompt.map(() => false), ...pair[side].map(() => true)],
})

async function makeBatches<T, B>(
  rows: Rows<T>,
  options: PaddedOptions,
  lengthOf: (row: T) => number,
  collateRows: (rows: readonly T[], indices: Uint32Array) => B,
): Promise<PaddedBatches<B>> {
  const { length, tooLong = 'error', buckets = 0, multipleOf = 1 } = options
  checkLength(length)
  if (!Number.isInteger(multipleOf) || multipleOf < 1) throw new RangeError(`a multiple of ${multipleOf}`)
  const lengths = tooLong === 'drop' || buckets !== 0 ? await measure(rows, lengthOf) : undefined
  const kept = tooLong === 'drop' ? fitting(lengths!, length) : undefined
  const indexOf = (row: number): number => kept?.[row] ?? row
  const count = kept?.length ?? rows.length
  const sorted: Buckets | undefined =
    buckets === 0 ? undefined : { batches: buckets, lengthOf: (row) => lengths![indexOf(row)]! }
  const order = orderOf(count, options, sorted)
  return {
    perEpoch: order.perEpoch,
    dropped: rows.length - count,
    async at(step) {
      const indices = order.rowsAt(step).map(indexOf)
      return collateRows(await Promise.all(Array.from(indices, (index) => rows.at(index))), indices)
    },
  }
}

export function checkLength(length: number): void {
  if (!Number.isInteger(length) || length < 2)
    throw new RangeError(`rows of ${length} tokens: it takes two for one to predict the other`)
}

/** How long each row is, by reading it. */
export async function measure<T>(
  rows: Rows<T>,
  lengthOf: (row: T, index: number) => number,
): Promise<Uint32Array> {
  const lengths = new Uint32Array(rows.length)
  for (let index = 0; index < rows.length; index++) lengths[index] = lengthOf(await rows.at(index), index)
  return lengths
}

/** The indices of rows that are not longer. */
export const fitting = (lengths: Uint32Array, limit: number): Uint32Array =>
  Uint32Array.from(lengths.keys()).filter((index) => lengths[index]! <= limit)

export const tooLongError = (index: number, has: number, length: number): RangeError =>
  new RangeError(
    `row ${index} has ${has} tokens, more than ${length}: take a greater length, or say what shall be done, ` +
      "tooLong: 'cut' or 'drop'",
  )

export const noTargetError = (index: number, length: number): RangeError =>
  new RangeError(
    `row ${index} has no token to train on among its first ${length}: take a greater length, or leave it out`,
  )

interface Collated extends TokenBatch {
  /** The rows that were cut. */
  readonly cut: ReadonlySet<number>
}

function collate(rows: readonly TrainingTokens[], indices: Uint32Array, options: PaddedOptions): Collated {
  const { length, tooLong = 'error', pad = 0, multipleOf = 1 } = options
  const longest = Math.max(2, ...rows.map(({ tokens }) => tokens.length))
  const time = Math.min(length, Math.ceil(longest / multipleOf) * multipleOf)
  const tokens = new Int32Array(rows.length * time).fill(pad)
  const mask = new Float32Array(rows.length * time)
  const cut = new Set<number>()
  for (const [at, row] of rows.entries()) {
    if (row.tokens.length > length) {
      if (tooLong === 'error') throw tooLongError(indices[at]!, row.tokens.length, length)
      cut.add(at)
    }
    if (!row.trained.slice(1, length).includes(true)) throw noTargetError(indices[at]!, length)
    tokens.set(row.tokens.slice(0, time), at * time)
    mask.set(row.trained.slice(1, time).map(Number), at * time + 1)
  }
  const batch = rows.length
  return { tokens: tensor(tokens, [batch, time]), mask: tensor(mask, [batch, time]), cut }
}
