import { expect, test } from 'vitest'
import { rowsOf } from '../result.ts'
import { arms, judge, largerArms } from './bpeUnigram.ts'

/** Three seeds; the unigram arm differs by these. */
const rows = (f1: number, blimp: number, bits: number) => {
  const boundaries = (value: number) => ({ f1: value, precision: value, recall: value })
  return rowsOf(
    [0, 0.01, -0.01].flatMap((shift, seed) => [
      {
        name: arms.bpe,
        seed,
        metrics: { ...boundaries(0.4 + shift), blimp: 0.6, bitsPerByte: 1.3 + shift },
      },
      {
        name: arms.unigram,
        seed,
        metrics: {
          ...boundaries(0.4 + f1 + shift * 1.1),
          blimp: 0.6 + blimp,
          bitsPerByte: 1.3 + bits + shift,
        },
      },
      { name: largerArms.bpe, seed, metrics: boundaries(0.5) },
      { name: largerArms.unigram, seed, metrics: boundaries(0.6) },
    ]),
  )
}

test('reproduced: a better F1, models no worse', () => {
  expect(judge(rows(0.1, 0, 0)).verdict).toBe('reproduced')
  expect(judge(rows(0.1, 0.05, -0.1)).verdict).toBe('reproduced')
})

test('partly, where models are worse; not, where boundaries are not better', () => {
  expect(judge(rows(0.1, -0.05, 0)).verdict).toBe('partly')
  expect(judge(rows(0.1, 0, 0.1)).verdict).toBe('partly')
  expect(judge(rows(0, 0.05, -0.1)).verdict).toBe('not at this scale')
  expect(judge(rows(-0.1, 0, 0)).reason).toContain('-0.1000')
})
