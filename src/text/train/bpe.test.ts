import { readFileSync } from 'node:fs'
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { type TokenizerJson, tokenizerConfig, tokenizerFromHuggingFace, trainBpe } from '../index.ts'

const merges = (json: TokenizerJson) =>
  (json.model.merges as [string, string][]).map((pair) => pair.join('+'))
const vocabulary = (json: TokenizerJson) => Object.keys(json.model.vocab as object)
const load = (json: TokenizerJson) =>
  tokenizerFromHuggingFace({
    tokenizer: { json, file: 'tokenizer.json' },
    config: { json: tokenizerConfig(json), file: 'tokenizer_config.json' },
  })
const repeat = (word: string, count: number) => new Array<string>(count).fill(word)

/** By the definition, and by Hugging Face's Rust trainer: test/fixtures/text/training.py. */
const reference = JSON.parse(
  readFileSync(new URL('../../../test/fixtures/text/training.json', import.meta.url), 'utf8'),
) as {
  texts: string[]
  bpe: { vocabSize: number; maxTokenLength: number | null; merges: [string, string][] }[]
}

describe('byte-level BPE', () => {
  test.each(reference.bpe)('makes the merges of the reference, $merges.length', ({ merges, ...options }) => {
    const given = { ...options, maxTokenLength: options.maxTokenLength ?? undefined }
    expect(trainBpe(reference.texts, given).model.merges).toEqual(merges)
  })

  // Sennrich et al. 2016: es (9), est (9), lo (7), low (7); of equal pairs the one with the smallest ids.
  const text = [...repeat('low', 5), ...repeat('lower', 2), ...repeat('newest', 6), ...repeat('widest', 3)]

  test('merges the most frequent pairs', () => {
    const json = trainBpe(text, { vocabSize: 1 + 256 + 4, specialTokens: ['<end>'] })
    expect(merges(json)).toEqual(['e+s', 'es+t', 'l+o', 'lo+w'])
    expect(vocabulary(json).slice(-4)).toEqual(['es', 'est', 'lo', 'low'])
  })

  test('reads a stream', async () => {
    async function* stream() {
      yield* text
    }
    expect(await trainBpe(stream(), { vocabSize: 261 })).toEqual(trainBpe(text, { vocabSize: 261 }))
  })

  test('stops when no pair is frequent enough', () => {
    expect(merges(trainBpe(['ab cd'], { vocabSize: 1000 }))).toEqual([])
    expect(merges(trainBpe(text, { vocabSize: 1000, minFrequency: 8 }))).toEqual(['e+s', 'es+t'])
  })

  test('never puts special tokens into words', () => {
    const json = trainBpe(repeat('ab<|endoftext|>ab', 3), { vocabSize: 300 })
    expect(merges(json)).toEqual(['a+b'])
  })

  test('makes tokens no longer than it is told', () => {
    const json = trainBpe(repeat('abcde', 9), { vocabSize: 1000, maxTokenLength: 3 })
    expect(merges(json)).toEqual(['a+b', 'c+d', 'cd+e'])
  })

  test('keeps digits apart where it is told to', () => {
    const dates = repeat('in 1999', 9)
    expect(vocabulary(trainBpe(dates, { vocabSize: 300 }))).toContain('Ġ1999')
    expect(
      vocabulary(trainBpe(dates, { vocabSize: 300, digits: true })).some((token) => /\d\d/.test(token)),
    ).toBe(false)
  })

  test('refuses what it cannot do', () => {
    expect(() => trainBpe(text, { vocabSize: 256 })).toThrow(/vocabSize 256 is too small.*257/)
    expect(() => trainBpe(text, { begin: '<s>' })).toThrow(/begin "<s>" is not one of specialTokens/)
    expect(() => trainBpe(text, { specialTokens: ['a', 'a'] })).toThrow(/"a" twice/)
    for (const token of ['Ġlow', 'a', 'é'])
      expect(() => trainBpe(text, { specialTokens: [token] })).toThrow(/is spelled as tokens of text are/)
    trainBpe(text, { specialTokens: ['<｜begin▁of▁sentence｜>', '[INST]', '☃'] })
    expect(() => trainBpe(text, { pattern: '(' })).toThrow(/missing \)/)
    expect(() => trainBpe(text, { vocabulary: 5 } as object)).toThrow(/vocabulary/)
  })

  const awkward = [
    '',
    ' ',
    'é ü 日本 👩‍👩‍👧 \u0000\u00ad',
    'a\r\n\tb   c\n\n',
    '<|endoftext|',
    "don't  12345!?",
  ]

  test.each([{}, { digits: true }, { pattern: '\\p{L}+|\\P{L}' }])('gives every text back: %j', (options) => {
    const json = trainBpe([...text, ...awkward], { vocabSize: 280, begin: '<|endoftext|>', ...options })
    const tokenizer = load(json)
    const library = new Library(json, tokenizerConfig(json))
    expect(tokenizer.bos).toBe(0)
    for (const sample of [...awkward, ...text]) {
      const { ids } = tokenizer.encode(sample)
      expect(ids[0]).toBe(0)
      expect(tokenizer.decode(ids.slice(1))).toBe(sample)
      expect(library.encode(sample).ids).toEqual(ids)
    }
  })
})
