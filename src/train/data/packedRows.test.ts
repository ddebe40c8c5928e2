import { describe, expect, test } from 'vitest'
import { random, type Tensor } from '../../array/index.ts'
import { bestFit } from './bestFit.ts'
import type { TrainingTokens } from './encode.ts'
import { type PackedOptions, packedRows } from './packedRows.ts'
import { rowsOf } from './rows.ts'

const lines = ({ data, sizes }: Tensor): number[][] =>
  Array.from({ length: sizes[0]! }, (_, i) =>
    Array.from(data as Int32Array).slice(i * sizes[1]!, (i + 1) * sizes[1]!),
  )
/** All tokens are trained on but the first `prompt`. */
const row = (tokens: number[], prompt = 0): TrainingTokens => ({
  tokens,
  trained: tokens.map((_, i) => i >= prompt),
})

/** The example of TRL's documentation of `pack_dataset`. */
const example = rowsOf([row([1, 2, 3, 4, 5]), row([6, 7]), row([8, 9, 10]), row([11])])
async function packed(options: Partial<PackedOptions> & { strategy: 'wrapped' | 'bfd' }, rows = example) {
  const batches = await packedRows(rows, { batch: 9, length: 4, ...options })
  const { tokens, mask, segments } = await batches.at(0)
  return { tokens: lines(tokens), mask: lines(mask), segments: lines(segments), report: batches.report }
}

describe('wrapped', () => {
  test('rows in their order, cut wherever a window is full', async () => {
    const { tokens, mask, segments, report } = await packed({ strategy: 'wrapped' })
    expect(tokens).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
      [9, 10, 11, 0],
    ])
    expect(mask).toEqual([
      [0, 1, 1, 1],
      [0, 1, 1, 1],
      [0, 1, 1, 0],
    ])
    expect(segments).toEqual([
      [1, 1, 1, 1],
      [1, 2, 2, 3],
      [1, 1, 2, 0],
    ])
    expect(report).toEqual({ rows: 4, windows: 3, tokens: 11, padding: 1, cut: 0, cutTokens: 0, dropped: 0 })
  })

  test('prompts are no targets, empty rows nothing', async () => {
    const rows = rowsOf([row([1, 2, 3], 2), row([]), row([4, 5, 6, 7, 8], 3)])
    const { tokens, mask, report } = await packed({ strategy: 'wrapped' }, rows)
    expect(tokens).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ])
    expect(mask).toEqual([
      [0, 0, 1, 0],
      [0, 0, 1, 1],
    ])
    expect(report.dropped).toBe(1)
    await expect(packed({ strategy: 'wrapped', tooLong: 'cut' })).rejects.toThrow(
      "tooLong is for the strategy 'bfd'",
    )
  })
})

describe('bfd', () => {
  // A token alone cannot be trained on; TRL's example has one.
  const rows = rowsOf([row([1, 2, 3, 4, 5]), row([6, 7]), row([8, 9, 10]), row([11, 12])])

  test('whole rows, none a target of the one before', async () => {
    const { tokens, mask, segments, report } = await packed({ strategy: 'bfd', length: 5, pad: 99 }, rows)
    expect(tokens).toEqual([
      [1, 2, 3, 4, 5],
      [8, 9, 10, 6, 7],
      [11, 12, 99, 99, 99],
    ])
    expect(mask).toEqual([
      [0, 1, 1, 1, 1],
      [0, 1, 1, 0, 1],
      [0, 1, 0, 0, 0],
    ])
    expect(segments).toEqual([
      [1, 1, 1, 1, 1],
      [1, 1, 1, 2, 2],
      [1, 1, 0, 0, 0],
    ])
    expect(report).toEqual({ rows: 4, windows: 3, tokens: 12, padding: 3, cut: 0, cutTokens: 0, dropped: 0 })
  })

  test('too long: an error, cut, or left out, and counted', async () => {
    await expect(packed({ strategy: 'bfd' }, rows)).rejects.toThrow('row 0 has 5 tokens, more than 4')
    const cut = await packed({ strategy: 'bfd', tooLong: 'cut' }, rows)
    expect(cut.tokens).toEqual([
      [1, 2, 3, 4],
      [8, 9, 10, 0],
      [6, 7, 11, 12],
    ])
    expect(cut.report).toMatchObject({ tokens: 11, cut: 1, cutTokens: 1, dropped: 0 })
    const dropped = await packed({ strategy: 'bfd', tooLong: 'drop' }, rows)
    expect(dropped.tokens).toEqual([
      [8, 9, 10, 0],
      [6, 7, 11, 12],
    ])
    expect(dropped.report).toMatchObject({ tokens: 7, cut: 0, dropped: 1 })
  })

  test('a row without a target is an error', async () => {
    await expect(packed({ strategy: 'bfd' }, rowsOf([row([1, 2], 2)]))).rejects.toThrow(
      'row 0 has no token to train on',
    )
  })
})

test.each(['wrapped', 'bfd'] as const)(
  '%s: every token once an epoch, the same from the middle',
  async (strategy) => {
    const uniform = random.generator(7)
    let next = 1
    const rows = rowsOf(
      Array.from({ length: 101 }, () =>
        row(Array.from({ length: 2 + Math.floor(uniform() * 15) }, () => next++)),
      ),
    )
    const options = { batch: 3, length: 17, strategy, seed: 5 }
    const batches = await packedRows(rows, options)
    const { perEpoch } = batches
    const read = async (from: number, to: number, source = batches) => {
      const all: number[][] = []
      for (let step = from; step < to; step++) all.push(...lines((await source.at(step)).tokens))
      return all
    }
    const epochs = [await read(0, perEpoch), await read(perEpoch, 2 * perEpoch)]
    for (const windows of epochs) {
      const tokens = windows.flat().filter((token) => token > 0)
      expect(tokens.sort((a, b) => a - b)).toEqual(Array.from({ length: next - 1 }, (_, i) => i + 1))
    }
    expect(epochs[0]).not.toEqual(epochs[1])
    const resumed = await read(perEpoch, 2 * perEpoch, await packedRows(rows, options))
    expect(resumed).toEqual(epochs[1])
  },
)

describe('best fit decreasing', () => {
  const binsOf = (lengths: number[], size: number): number[][] => {
    const { items, starts } = bestFit(lengths, size)
    return Array.from({ length: starts.length - 1 }, (_, bin) => [
      ...items.subarray(starts[bin], starts[bin + 1]),
    ])
  }

  test("TRL's example", () => {
    // [[1, 2, 3, 4], [8, 9, 10, 11], [6, 7]], the first row cut to 4.
    expect(binsOf([4, 2, 3, 1], 4)).toEqual([[0], [2, 3], [1]])
    expect(binsOf([], 4)).toEqual([])
  })

  test('puts each where the least room is left, as looking at all bins finds', () => {
    const uniform = random.generator(11)
    for (const size of [1, 31, 32, 33, 100]) {
      const lengths = Array.from({ length: 300 }, () => 1 + Math.floor(uniform() * size))
      const bins: { items: number[]; room: number; since: number }[] = []
      let time = 0
      const order = [...lengths.keys()].sort((a, b) => lengths[b]! - lengths[a]! || a - b)
      for (const item of order) {
        const fits = bins.filter(({ room }) => room >= lengths[item]!)
        fits.sort((a, b) => a.room - b.room || a.since - b.since)
        const bin = fits[0] ?? { items: [], room: size, since: 0 }
        if (fits.length === 0) bins.push(bin)
        bin.items.push(item)
        bin.room -= lengths[item]!
        bin.since = time++
      }
      expect(binsOf(lengths, size)).toEqual(bins.map(({ items }) => items))
    }
  })

  test('what does not fit at all is an error', () => {
    expect(() => bestFit([5], 4)).toThrow(RangeError)
    expect(() => bestFit([0], 4)).toThrow(RangeError)
  })
})
