import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { renyiEfficiency, TokenizerMeter, tokenizerFromHuggingFace } from './index.ts'

// What the authors' tokenization-scorer gives for these tokens: order 2.5 in its tests, order 3 in its README.
test.each([
  ['pick @@ed pick @@l @@ed pick @@les', 0.8265064834225245, 0.8031528501359657],
  ['pick @@e @@d pick @@l @@e @@d pick @@l @@e @@s', 0.9204840242168808, 0.9105681923824472],
])('Rényi efficiency of %s', (text, expected, cubic) => {
  const counts = new Map<string, number>()
  for (const token of text.split(' ')) counts.set(token, (counts.get(token) ?? 0) + 1)
  expect(renyiEfficiency([...counts.values(), 0])).toBeCloseTo(expected, 14)
  expect(renyiEfficiency([...counts.values(), 0], 3)).toBeCloseTo(cubic, 14)
})

test('uniform tokens are efficient, a single one has no efficiency', () => {
  expect(renyiEfficiency([3, 3, 3])).toBeCloseTo(1, 14)
  expect(renyiEfficiency([3, 0])).toBeNaN()
})

test('words are counted with the tokens that they are cut into', () => {
  const vocab = Object.fromEntries(
    ['<unk>', 'a', 'b', 'c', 'ab', '.', ' ', 'é'].map((token, id) => [token, id]),
  )
  const tokenizer = tokenizerFromHuggingFace({
    tokenizer: {
      file: 'tokenizer.json',
      json: {
        added_tokens: [{ id: 0, content: '<unk>', special: true }],
        model: { type: 'BPE', vocab, merges: [['a', 'b']], unk_token: '<unk>' },
      },
    },
  })
  const meter = new TokenizerMeter(tokenizer)
  meter.add('ab abc. é')
  meter.add('ab x')
  // ab | _ | ab c . | _ | é, and ab | _ | <unk>: 7 and 3 tokens; words ab, abc (2 parts), é, ab, x.
  expect(meter.result).toEqual({
    vocabSize: 8,
    tokens: 10,
    bytesPerToken: 14 / 10,
    fertility: 6 / 5,
    wholeWords: 4 / 5,
    unknown: 1 / 10,
    renyiEfficiency: renyiEfficiency([1, 3, 1, 1, 3, 1]),
    vocabularyUse: 6 / 8,
  })
})

test('a token that covers two words covers each of them', () => {
  const json = JSON.parse(
    readFileSync(new URL('../../test/fixtures/text/byte-level.json', import.meta.url), 'utf8'),
  )
  const meter = new TokenizerMeter(
    tokenizerFromHuggingFace({ tokenizer: { json: { ...json, added_tokens: [] }, file: 'byte-level' } }),
  )
  meter.add('')
  expect(meter.result.fertility).toBeNaN()
  meter.add('日本')
  expect(meter.result.tokens).toBe(meter.result.fertility)
})
