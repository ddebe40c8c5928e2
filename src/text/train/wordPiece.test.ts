import { readFileSync } from 'node:fs'
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { type TokenizerJson, tokenizerConfig, tokenizerFromHuggingFace, trainWordPiece } from '../index.ts'

/** By the definition: test/fixtures/text/training.py. */
const reference = JSON.parse(
  readFileSync(new URL('../../../test/fixtures/text/training.json', import.meta.url), 'utf8'),
) as {
  texts: string[]
  wordpiece: { vocabSize: number; maxTokenLength: number | null; tokens: string[] }[]
}
const texts = reference.texts.filter((text) => !text.includes('<|endoftext|>'))
const ids = (json: TokenizerJson) => json.model.vocab as Record<string, number>
const tokens = (json: TokenizerJson) =>
  Object.entries(ids(json))
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token)

describe('WordPiece', () => {
  test.each(reference.wordpiece)('makes the vocabulary of the reference, $tokens.length', (entry) => {
    const { tokens: expected, ...options } = entry
    const given = { ...options, maxTokenLength: options.maxTokenLength ?? undefined }
    expect(tokens(trainWordPiece(texts, given))).toEqual(expected)
  })

  // Pairs: ##u ##g 10 + 5 + 5, then ##u ##n 12 + 4, then h ##ug 10 + 5.
  test('merges the most frequent pairs', () => {
    const words = { hug: 10, pug: 5, pun: 12, bun: 4, hugs: 5 }
    const corpus = Object.entries(words).map(([word, count]) => `${word} `.repeat(count))
    const json = trainWordPiece(corpus, { vocabSize: 5 + 7 + 4 + 3 })
    expect(tokens(json).slice(5)).toEqual('b g h n p s u ##g ##n ##s ##u ##ug ##un hug'.split(' '))
  })

  test('leaves out words with rare characters', () => {
    const json = trainWordPiece(['ab ab ab ab ax ax xb'], { limitAlphabet: 2, vocabSize: 100 })
    expect(tokens(json).slice(5)).toEqual(['a', 'b', '##b', 'ab'])
  })

  test('surrounds texts, and gives words back', () => {
    const json = trainWordPiece(texts, { vocabSize: 700 })
    const tokenizer = tokenizerFromHuggingFace({
      tokenizer: { json, file: 'tokenizer.json' },
      config: { json: tokenizerConfig(json), file: 'tokenizer_config.json' },
    })
    const library = new Library(json, tokenizerConfig(json))
    for (const text of ['', 'The quick brown fox', 'Съешь же ещё', 'zzz ☃ zzz', ...texts]) {
      const encoded = tokenizer.encode(text)
      expect(encoded.tokens.at(0)).toBe('[CLS]')
      expect(encoded.tokens.at(-1)).toBe('[SEP]')
      expect(library.encode(text).ids).toEqual(encoded.ids)
    }
    for (const text of ['The quick brown fox jumps over the lazy dog', 'Die Straße ist weiß'])
      expect(tokenizer.decode(tokenizer.encode(text).ids, { skipSpecialTokens: true })).toBe(text)
    expect(tokenizer.encode('☃ fox').ids[1]).toBe(tokenizer.unk)
  })

  test('keeps digits apart where it is told to', () => {
    const dates = new Array<string>(9).fill('in 1999')
    const long = (json: TokenizerJson) => tokens(json).filter((token) => /\d\d/.test(token))
    expect(long(trainWordPiece(dates, { vocabSize: 100 }))).toContain('1999')
    expect(long(trainWordPiece(dates, { vocabSize: 100, digits: true }))).toEqual([])
  })

  test('refuses what it cannot do', () => {
    expect(() => trainWordPiece(['abc'], { vocabSize: 6 })).toThrow(/vocabSize 6 is too small.*10/)
    expect(() => trainWordPiece(['abc'], { specialTokens: ['[UNK]', '##b'] })).toThrow(/"##b" is spelled as/)
    expect(() => trainWordPiece(['abc'], { unknown: '<unk>' })).toThrow(
      /unknown "<unk>" is not one of specialTokens/,
    )
  })
})
