import { expect, test } from 'vitest'
import { rowsOf } from '../result.ts'
import { exact, judge } from './ngramTransformer.ts'

const rows = (hard: number, soft: readonly number[]) =>
  rowsOf(
    [
      ...Object.keys(exact).map((name, i) => [name, i === 0 ? hard : 1e-7] as const),
      ...[1, 2, 4, 8, 16, 32].map((times, i) => [`softmax x ${times}`, soft[i]!] as const),
    ].map(([name, value]) => ({
      name,
      seed: 0,
      metrics: { 'random tables': value, 'estimated tables': value / 2 },
    })),
  )
const closing = [0.5, 0.3, 0.1, 0.01, 1e-4, 1e-8]

test('reproduced where all are exact and softmax closes the gap; partly where only some are', () => {
  expect(judge(rows(1e-7, closing)).verdict).toBe('reproduced')
  expect(judge(rows(1e-3, closing)).verdict).toBe('partly')
  expect(judge(rows(1e-7, [...closing].reverse())).verdict).toBe('partly')
  // Without a gap at the beginning, nothing closes.
  expect(
    judge(
      rows(
        1e-7,
        closing.map(() => 0),
      ),
    ).verdict,
  ).toBe('partly')
})

test('not, where none is exact', () => {
  const none = rowsOf(
    [...Object.keys(exact), ...[1, 2, 4, 8, 16, 32].map((times) => `softmax x ${times}`)].map((name) => ({
      name,
      seed: 0,
      metrics: { 'random tables': 0.1, 'estimated tables': 0.1 },
    })),
  )
  expect(judge(none).verdict).toBe('not at this scale')
})
