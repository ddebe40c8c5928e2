import { describe, expect, test } from 'vitest'
import type { Tensor } from '../../array/index.ts'
import type { PreferenceTokens, TrainingTokens } from './encode.ts'
import { orderOf } from './order.ts'
import { padded, paddedPairs } from './padded.ts'
import { rowsOf } from './rows.ts'

/** A row of the tokens `first`, `first + 1` and so on, of which the last `targets` are trained on. */
const row = (first: number, length: number, targets = length): TrainingTokens => ({
  tokens: Array.from({ length }, (_, i) => first + i),
  trained: Array.from({ length }, (_, i) => i >= length - targets),
})
const lines = ({ data, sizes }: Tensor): number[][] =>
  Array.from({ length: sizes[0]! }, (_, i) =>
    Array.from(data as Int32Array).slice(i * sizes[1]!, (i + 1) * sizes[1]!),
  )

describe('padded rows', () => {
  const rows = rowsOf([row(10, 3, 2), row(20, 5, 1), row(30, 2, 1)])

  test('are filled up behind; the mask says which next token is a target', async () => {
    const batches = await padded(rows, { batch: 2, length: 8 })
    expect(batches.perEpoch).toBe(2)
    const { tokens, mask, cut } = await batches.at(0)
    expect([tokens.dtype, mask.dtype, cut]).toEqual(['i32', 'f32', 0])
    expect(lines(tokens)).toEqual([
      [10, 11, 12, 0, 0],
      [20, 21, 22, 23, 24],
    ])
    expect(lines(mask)).toEqual([
      [0, 1, 1, 0, 0],
      [0, 0, 0, 0, 1],
    ])
    expect(lines((await batches.at(1)).tokens)).toEqual([[30, 31]])
    expect(lines((await batches.at(2)).tokens)).toEqual(lines(tokens))
  })

  test('to a multiple, with another token, without the last batch', async () => {
    const batches = await padded(rows, { batch: 2, length: 7, pad: 9, multipleOf: 4, dropLast: true })
    expect(batches.perEpoch).toBe(1)
    expect(lines((await batches.at(0)).tokens)).toEqual([
      [10, 11, 12, 9, 9, 9, 9],
      [20, 21, 22, 23, 24, 9, 9],
    ])
  })

  test('too long: an error, cut, or left out, and counted', async () => {
    const long = rowsOf([row(10, 3), row(20, 5), row(30, 2)])
    const batches = await padded(long, { batch: 3, length: 3 })
    await expect(batches.at(0)).rejects.toThrow('row 1 has 5 tokens, more than 3')
    const cut = await (await padded(long, { batch: 3, length: 3, tooLong: 'cut' })).at(0)
    expect([lines(cut.tokens)[1], lines(cut.mask)[1], cut.cut]).toEqual([[20, 21, 22], [0, 1, 1], 1])
    const dropping = await padded(long, { batch: 3, length: 3, tooLong: 'drop' })
    expect([lines((await dropping.at(0)).tokens), dropping.dropped]).toEqual([
      [
        [10, 11, 12],
        [30, 31, 0],
      ],
      1,
    ])
  })

  test('without a target, perhaps because they were cut, are an error', async () => {
    const options = { batch: 1, length: 3, tooLong: 'cut' } as const
    const batches = await padded(rowsOf([row(1, 5, 1), row(1, 1)]), options)
    await expect(batches.at(0)).rejects.toThrow('row 0 has no token to train on among its first 3')
    await expect(batches.at(1)).rejects.toThrow('row 1 has no token to train on')
  })

  test('options that make no batch are errors', async () => {
    for (const options of [
      { batch: 0, length: 4 },
      { batch: 1, length: 1 },
      { batch: 4, length: 4, dropLast: true },
    ])
      await expect(padded(rows, options)).rejects.toThrow(RangeError)
    const batches = await padded(rows, { batch: 1, length: 8 })
    await expect(batches.at(-1)).rejects.toThrow('counted from 0')
  })
})

test('pairs: both sides in the same order, each as long as its own longest', async () => {
  const pairs: PreferenceTokens[] = [
    { prompt: [1, 2], chosen: [3], rejected: [4, 5, 6] },
    { prompt: [7], chosen: [8, 9], rejected: [10] },
  ]
  const batches = await paddedPairs(rowsOf(pairs), { batch: 2, length: 8 })
  const { chosen, rejected, cut } = await batches.at(0)
  expect([lines(chosen.tokens), lines(chosen.mask)]).toEqual([
    [
      [1, 2, 3],
      [7, 8, 9],
    ],
    [
      [0, 0, 1],
      [0, 1, 1],
    ],
  ])
  expect([lines(rejected.tokens), lines(rejected.mask)]).toEqual([
    [
      [1, 2, 4, 5, 6],
      [7, 10, 0, 0, 0],
    ],
    [
      [0, 0, 1, 1, 1],
      [0, 1, 0, 0, 0],
    ],
  ])
  expect(cut).toBe(0)
  const shorter = { batch: 2, length: 4 }
  await expect((await paddedPairs(rowsOf(pairs), shorter)).at(0)).rejects.toThrow('row 0 has 5 tokens')
  expect((await (await paddedPairs(rowsOf(pairs), { ...shorter, tooLong: 'cut' })).at(0)).cut).toBe(1)
  expect((await paddedPairs(rowsOf(pairs), { ...shorter, tooLong: 'drop' })).dropped).toBe(1)
})

describe('the order', () => {
  const many = rowsOf(Array.from({ length: 53 }, (_, i) => row(100 * i, 2 + ((i * 7) % 20))))
  const firstsOf = async (options: { seed?: number; buckets?: number }, steps: number[]) => {
    const batches = await padded(many, { batch: 4, length: 32, ...options })
    const firsts: number[][] = []
    for (const step of steps)
      firsts.push(lines((await batches.at(step)).tokens).map((tokens) => tokens[0]! / 100))
    return firsts
  }
  const epoch = (number: number): number[] => Array.from({ length: 14 }, (_, step) => 14 * number + step)

  test.each([{ seed: 3 }, { seed: 3, buckets: 5 }, { buckets: 5 }, {}])(
    'has each row once an epoch: %o',
    async (options) => {
      for (const number of [0, 1, 2]) {
        const rows = (await firstsOf(options, epoch(number))).flat()
        expect(rows.sort((a, b) => a - b)).toEqual(Array.from({ length: 53 }, (_, i) => i))
      }
    },
  )

  test.each([{ seed: 3 }, { seed: 3, buckets: 5 }])(
    'is the same for who begins in the middle: %o',
    async (options) => {
      const steps = Array.from({ length: 42 }, (_, step) => step)
      const whole = await firstsOf(options, steps)
      for (const from of [1, 13, 14, 30])
        expect(await firstsOf(options, steps.slice(from))).toEqual(whole.slice(from))
      expect(await firstsOf(options, [30, 2, 41])).toEqual([whole[30], whole[2], whole[41]])
      expect(whole.slice(0, 14)).not.toEqual(whole.slice(14, 28))
      expect(await firstsOf({ ...options, seed: 4 }, steps)).not.toEqual(whole)
    },
  )

  test('in buckets has little padding', () => {
    const lengthOf = (index: number): number => 2 + ((index * 7) % 20)
    const paddingOf = (buckets?: { batches: number; lengthOf(row: number): number }): number => {
      const order = orderOf(53, { batch: 4, seed: 1 }, buckets)
      let padding = 0
      for (let step = 0; step < order.perEpoch; step++) {
        const lengths = [...order.rowsAt(step)].map(lengthOf)
        for (const length of lengths) padding += Math.max(...lengths) - length
      }
      return padding
    }
    expect(paddingOf({ batches: 14, lengthOf })).toBeLessThan(paddingOf() / 4)
  })
})
