import { expect, test } from 'vitest'
import { rowsOf } from '../result.ts'
import { arms, judge, mixed } from './snm.ts'

/** Bits per byte of three seeds around each mean; perplexity as two to its ninth power. */
const rows = (bits: Record<keyof typeof arms, number>) =>
  rowsOf(
    Object.entries(bits).flatMap(([key, mean]) =>
      [-0.01, 0, 0.01].map((shift, seed) => ({
        name: arms[key as keyof typeof arms],
        seed,
        metrics: { bitsPerByte: mean + shift, perplexity: 2 ** (mean * 9) },
      })),
    ),
  )
const good = {
  kneserNey: 1,
  ngram: 1.005,
  skipGram: 0.97,
  transformer: 0.98,
  kneserNeyMixed: 0.95,
  mixed: 0.93,
}

test('reproduced where all three parts hold, partly where some do, else not', () => {
  expect(judge(rows(good)).verdict).toBe('reproduced')
  expect(judge(rows({ ...good, ngram: 1.2 })).verdict).toBe('partly')
  expect(judge(rows({ ...good, skipGram: 1.01 })).verdict).toBe('partly')
  expect(judge(rows({ ...good, transformer: 0.9 })).verdict).toBe('partly')
  const bad = { ...good, ngram: 1.2, skipGram: 1.1, mixed: 1.1 }
  expect(judge(rows(bad)).verdict).toBe('not at this scale')
  expect(judge(rows(good)).reason).toContain('-0.030')
})

test('a mixture of equals is the same; of a good and a bad model, the good one', () => {
  const a = Array.from({ length: 40 }, (_, i) => Math.log(0.1 + (i % 7) / 10))
  for (const [i, value] of mixed(a, a).entries()) expect(value).toBeCloseTo(a[i]!, 12)
  const worse = a.map((value) => value - 5)
  for (const [i, value] of mixed(a, worse).entries()) expect(value).toBeCloseTo(a[i]!, 6)
})
