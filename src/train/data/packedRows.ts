/** Rows with their targets, packed into windows of one length: few tokens of a batch are padding. */
import { type Tensor, tensor } from '../../array/index.ts'
import { bestFit } from './bestFit.ts'
import type { TrainingTokens } from './encode.ts'
import { type OrderOptions, orderOf } from './order.ts'
import { checkLength, measure, noTargetError, type TokenBatch, tooLongError } from './padded.ts'
import type { Batches, Rows } from './types.ts'

export interface PackedOptions extends OrderOptions {
  /** T: the tokens of a window. */
  readonly length: number
  /**
   * TRL's strategies. `wrapped`: rows in their order as one text, cut into windows wherever one is full. `bfd`: rows
   * stay whole, put together so that they fill windows best (Best Fit Decreasing). Default `bfd`.
   */
  readonly strategy?: 'wrapped' | 'bfd'
  /** For `bfd`, what happens to rows longer than a window: an error (default), they are cut, or left out. */
  readonly tooLong?: 'error' | 'cut' | 'drop'
  /** What windows are filled up with; never a target (default 0). */
  readonly pad?: number
}

export interface PackedBatch extends TokenBatch {
  /** i32 [batch, T]: which row of its window a token belongs to, from 1; 0 for padding. */
  readonly segments: Tensor
}

export interface PackingReport {
  readonly rows: number
  readonly windows: number
  /** Tokens in the windows that are not padding. */
  readonly tokens: number
  readonly padding: number
  /** Rows that lost their end, and how many tokens that were. */
  readonly cut: number
  readonly cutTokens: number
  /** Rows left out as too long, or empty. */
  readonly dropped: number
}

export interface PackedBatches extends Batches<PackedBatch> {
  readonly perEpoch: number
  readonly report: PackingReport
  at(step: number): Promise<PackedBatch>
}

/** Part of a row in a window. */
interface Piece {
  readonly row: number
  readonly from: number
  readonly to: number
}

interface Packing {
  readonly windows: number
  piecesOf(window: number): Piece[]
}

/**
 * Batches of `batch` windows. All rows are read once to know their lengths, and again when their window is due;
 * a seed orders the windows of each epoch. With `bfd` no token is a target of a row before its own; with `wrapped`
 * the first token of a row is one if the row says so, as in a text that goes on.
 *
 * A row without a target is an error with `bfd`, at once; with `wrapped` a window can be all prompt, and its mask all 0.
 * A model attends to earlier rows of a window, unless it is told of `segments`.
 */
export async function packedRows(rows: Rows<TrainingTokens>, options: PackedOptions): Promise<PackedBatches> {
  const { length, strategy = 'bfd', tooLong, pad = 0 } = options
  checkLength(length)
  if (strategy === 'wrapped' && tooLong !== undefined)
    throw new RangeError("tooLong is for the strategy 'bfd': 'wrapped' cuts rows wherever a window is full")
  const lengths = await measure(rows, ({ tokens, trained }, index) => {
    const whole = strategy === 'bfd' && tokens.length > 0 && !(tooLong === 'drop' && tokens.length > length)
    if (whole && !trained.slice(1, length).includes(true)) throw noTargetError(index, length)
    return tokens.length
  })
  const packing =
    strategy === 'wrapped' ? wrap(lengths, length) : intoBins(lengths, length, tooLong ?? 'error')
  const order = orderOf(packing.windows, options)
  return {
    perEpoch: order.perEpoch,
    report: reportOf(lengths, length, packing, strategy),
    async at(step) {
      const windows = [...order.rowsAt(step)].map((window) => packing.piecesOf(window))
      const batch = await Promise.all(
        windows.map((pieces) => fill(rows, pieces, length, pad, strategy === 'bfd')),
      )
      const join = <A extends Int32Array | Float32Array>(parts: A[], all: A, width: number): Tensor => {
        for (const [at, part] of parts.entries()) all.set(part, at * width)
        return tensor(all, [batch.length, width])
      }
      const size = batch.length * length
      return {
        tokens: join(
          batch.map(({ tokens }) => tokens),
          new Int32Array(size),
          length,
        ),
        mask: join(
          batch.map(({ mask }) => mask),
          new Float32Array(size),
          length,
        ),
        segments: join(
          batch.map(({ segments }) => segments),
          new Int32Array(size),
          length,
        ),
      }
    },
  }
}

function wrap(lengths: Uint32Array, length: number): Packing {
  const starts = new Float64Array(lengths.length + 1)
  for (const [row, size] of lengths.entries()) starts[row + 1] = starts[row]! + size
  const total = starts[lengths.length]!
  return {
    windows: Math.ceil(total / length),
    piecesOf(window) {
      const [begin, end] = [window * length, Math.min((window + 1) * length, total)]
      const pieces: Piece[] = []
      for (let row = rowAt(starts, begin); row < lengths.length && starts[row]! < end; row++) {
        const [from, to] = [Math.max(begin - starts[row]!, 0), Math.min(end - starts[row]!, lengths[row]!)]
        if (from < to) pieces.push({ row, from, to })
      }
      return pieces
    },
  }
}

/** The last row that begins at or before a place. */
function rowAt(starts: Float64Array, place: number): number {
  let [low, high] = [0, starts.length - 2]
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (starts[middle]! <= place) low = middle
    else high = middle - 1
  }
  return low
}

function intoBins(lengths: Uint32Array, length: number, tooLong: 'error' | 'cut' | 'drop'): Packing {
  const long = tooLong === 'error' ? lengths.findIndex((size) => size > length) : -1
  if (long >= 0) throw tooLongError(long, lengths[long]!, length)
  const kept = Uint32Array.from(lengths.keys()).filter(
    (row) => lengths[row]! > 0 && (tooLong === 'cut' || lengths[row]! <= length),
  )
  const { items, starts } = bestFit(
    kept.map((row) => Math.min(lengths[row]!, length)),
    length,
  )
  return {
    windows: starts.length - 1,
    piecesOf: (window) =>
      Array.from(items.subarray(starts[window], starts[window + 1]), (item) => {
        const row = kept[item]!
        return { row, from: 0, to: Math.min(lengths[row]!, length) }
      }),
  }
}

interface Window {
  readonly tokens: Int32Array
  readonly mask: Float32Array
  readonly segments: Int32Array
}

async function fill(
  rows: Rows<TrainingTokens>,
  pieces: readonly Piece[],
  length: number,
  pad: number,
  apart: boolean,
): Promise<Window> {
  const tokens = new Int32Array(length).fill(pad)
  const mask = new Float32Array(length)
  const segments = new Int32Array(length)
  let at = 0
  for (const [index, { row, from, to }] of pieces.entries()) {
    const { tokens: ids, trained } = await rows.at(row)
    if (ids.length < to)
      throw new Error(`row ${row} has become shorter since it was packed: rows must not change`)
    segments.fill(index + 1, at, at + to - from)
    for (let source = from; source < to; source++, at++) {
      tokens[at] = ids[source]!
      // The first token of a window has nothing before it, that of a row nothing of its own.
      if (at > 0 && trained[source] && !(apart && source === 0)) mask[at] = 1
    }
  }
  return { tokens, mask, segments }
}

function reportOf(
  lengths: Uint32Array,
  length: number,
  { windows, piecesOf }: Packing,
  strategy: 'wrapped' | 'bfd',
): PackingReport {
  const used = new Set<number>()
  let tokens = 0
  for (let window = 0; window < windows; window++)
    for (const { row, from, to } of piecesOf(window)) {
      used.add(row)
      tokens += to - from
    }
  let [cut, cutTokens] = [0, 0]
  if (strategy === 'bfd')
    for (const row of used) {
      const lost = Math.max(lengths[row]! - length, 0)
      if (lost > 0) cut++
      cutTokens += lost
    }
  const rows = lengths.length
  return {
    rows,
    windows,
    tokens,
    padding: windows * length - tokens,
    cut,
    cutTokens,
    dropped: rows - used.size,
  }
}
