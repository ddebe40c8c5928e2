import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { documentsOf, heldOut, loadKneserNey, saveKneserNey, trainKneserNey } from './index.ts'

interface Case {
  order: number
  discount: 'modified' | 'single'
  discounts: number[][]
  probabilities: number[][]
}
const { vocabulary, learned, held, cases } = JSON.parse(
  readFileSync(new URL('../../test/fixtures/ngram.json', import.meta.url), 'utf8'),
) as { vocabulary: number; learned: number[][]; held: number[][]; cases: Case[] }

const folder = mkdtempSync(join(tmpdir(), 'glossa-ngram-'))
afterAll(() => rmSync(folder, { recursive: true }))

const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0)

describe.each(cases)('order $order, $discount', ({ order, discount, discounts, probabilities }) => {
  const model = trainKneserNey(learned, { order, vocabulary, discount })

  test('the definition, n-gram by n-gram, in Python', () => {
    for (const [i, values] of discounts.entries())
      for (const [j, value] of values.entries()) expect(model.discounts[i]![j]).toBeCloseTo(value, 12)
    for (const [i, row] of held.entries()) {
      const scores = model.logProbabilities(row)
      expect(scores.length).toBe(row.length)
      for (const [j, score] of scores.entries())
        expect(Math.exp(score)).toBeCloseTo(probabilities[i]![j]!, 12)
    }
  })

  test('distributions sum to 1 and agree with the scores of rows', () => {
    for (const row of held)
      for (let i = 0; i < row.length; i++) {
        const distribution = model.distribution(row.slice(0, i))
        expect(sum(distribution)).toBeCloseTo(1, 12)
        expect(Math.log(distribution[row[i]!]!)).toBeCloseTo(model.logProbabilities(row)[i]!, 10)
      }
  })

  test('a saved model is the same', () => {
    const path = join(folder, `${order}-${discount}.safetensors`)
    saveKneserNey(path, model)
    const loaded = loadKneserNey(path)
    for (const row of held) expect(loaded.logProbabilities(row)).toEqual(model.logProbabilities(row))
  })
})

test('worked: rows "0 1 0 2" and "0 1", pairs, discount 1/2', () => {
  // Behind 0 come 1 (twice) and 2 (once); 0 follows two tokens (the beginning, 1), 1 and 2 one each: 4 in all.
  const model = trainKneserNey(
    [
      [0, 1, 0, 2],
      [0, 1],
    ],
    { order: 2, vocabulary: 3, discount: 0.5 },
  )
  const single = [(2 - 0.5 + 1.5 / 3) / 4, (1 - 0.5 + 1.5 / 3) / 4, (1 - 0.5 + 1.5 / 3) / 4]
  const behind0 = [(1 * single[0]!) / 3, (2 - 0.5 + single[1]!) / 3, (1 - 0.5 + single[2]!) / 3]
  expect([...model.distribution([0])]).toEqual(behind0.map((value) => expect.closeTo(value, 14)))
  // Nothing was seen behind 2: what is left is the distribution of single tokens.
  expect([...model.distribution([2])]).toEqual(single.map((value) => expect.closeTo(value, 14)))
})

test('without discount it is the relative frequency; order 1 counts tokens as they are', () => {
  const model = trainKneserNey([[0, 1, 0, 2, 0, 1]], { order: 3, vocabulary: 4, discount: 0 })
  expect([...model.distribution([0, 1, 0])]).toEqual([0, 0, 1, 0])
  const single = trainKneserNey([[0, 1, 0, 2, 0, 1]], { order: 1, vocabulary: 4, discount: 0 })
  expect([...single.distribution([])]).toEqual([3 / 6, 2 / 6, 1 / 6, 0])
})

test('bits per byte: a uniform model of 4 tokens, a byte each, takes 2', () => {
  const uniform = trainKneserNey([[0]], { order: 1, vocabulary: 4, discount: 1 })
  const stream = { tokens: Uint16Array.of(1, 2, 3, 1, 0), starts: Int32Array.of(0, 3, 3) }
  expect(documentsOf(stream).map((row) => [...row])).toEqual([[1, 2, 3], [], [1, 0]])
  const { bitsPerByte, perplexity, tokens } = heldOut(uniform, documentsOf(stream), 5)
  expect(bitsPerByte).toBeCloseTo(2, 12)
  expect(perplexity).toBeCloseTo(4, 12)
  expect(tokens).toBe(5)
})

test('what cannot be is refused', () => {
  expect(() => trainKneserNey([[0, 4]], { order: 2, vocabulary: 4 })).toThrow('token 4 is outside')
  expect(() => trainKneserNey([], { vocabulary: 4 })).toThrow('no tokens to count')
  expect(() => trainKneserNey([[0]], { vocabulary: 4 }).logProbabilities([5])).toThrow('token 5 is outside')
  const path = join(folder, 'other.safetensors')
  writeFileSync(path, Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')]))
  expect(() => loadKneserNey(path)).toThrow('is no Kneser-Ney model')
})
