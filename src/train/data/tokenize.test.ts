import { describe, expect, test } from 'vitest'
import { charTokenizer, idsOf } from '../../../test/charTokenizer.ts'
import { rowsOf } from './rows.ts'
import { tokenizeCorpus } from './tokenize.ts'
import type { Rows } from './types.ts'

const tokenizer = charTokenizer()

describe('a corpus as tokens', () => {
  test('documents one after the other, each with its end', async () => {
    const { tokens, starts } = await tokenizeCorpus(rowsOf(['ab', { text: 'c' }, '']), tokenizer)
    expect(tokens).toEqual(Uint16Array.from(idsOf('ab', 0, 'c', 0, 0)))
    expect(starts).toEqual(Int32Array.of(0, 3, 5))
  })

  test('a text cannot forge a special token, unless it may', async () => {
    const rows = rowsOf([{ story: 'a<|endoftext|>' }])
    const spelled = await tokenizeCorpus(rows, tokenizer, { column: 'story' })
    expect([...spelled.tokens]).toEqual(idsOf('a<|endoftext|>', 0))
    const parsed = await tokenizeCorpus(rows, tokenizer, { column: 'story', parseSpecialTokens: true })
    expect([...parsed.tokens]).toEqual(idsOf('a', 0))
  })

  test('another end, or none', async () => {
    const end = await tokenizeCorpus(rowsOf(['a']), tokenizer, { endOfText: 2 })
    expect([...end.tokens]).toEqual(idsOf('a', 2))
    const none = await tokenizeCorpus(rowsOf(['a', 'b']), tokenizer, { endOfText: null })
    expect([...none.tokens]).toEqual(idsOf('ab'))
    await expect(tokenizeCorpus(rowsOf(['a']), tokenizer, { endOfText: 99 })).rejects.toThrow(
      'outside the vocabulary',
    )
    const endless = { ...tokenizer, eos: undefined }
    await expect(tokenizeCorpus(rowsOf(['a']), endless)).rejects.toThrow('no end-of-text token')
  })

  test('one token that begins and ends documents stands once between two', async () => {
    const begins = charTokenizer({}, [], true)
    const { tokens, starts } = await tokenizeCorpus(rowsOf(['ab', 'c']), begins)
    expect([...tokens]).toEqual(idsOf(0, 'ab', 0, 'c', 0))
    expect([...starts]).toEqual([0, 3])
    const other = await tokenizeCorpus(rowsOf(['ab', 'c']), begins, { endOfText: 2 })
    expect([...other.tokens]).toEqual(idsOf(0, 'ab', 2, 0, 'c', 2))
  })

  test('longer than a piece', async () => {
    const text = 'abcdefghij'.repeat(60_000)
    const { tokens, starts } = await tokenizeCorpus(rowsOf([text, text, 'k']), tokenizer)
    expect(tokens.length).toBe(1_200_004)
    expect([...starts]).toEqual([0, 600_001, 1_200_002])
    expect([...tokens.subarray(-3)]).toEqual(idsOf(0, 'k', 0))
    expect([...tokens.subarray(599_999, 600_003)]).toEqual(idsOf('j', 0, 'ab'))
  })

  test('progress, and an end before the end', async () => {
    const told: unknown[] = []
    await tokenizeCorpus(rowsOf(['a', 'b']), tokenizer, { progress: (progress) => told.push(progress) })
    expect(told).toEqual([{ rows: 2, of: 2, tokens: 4 }])
    const slow: Rows<string> = { length: 9, at: () => new Promise((done) => setTimeout(done, 250, 'a')) }
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(tokenizeCorpus(slow, tokenizer, { signal })).rejects.toThrow('enough')
  })

  test('a row without text is an error that says what it has', async () => {
    await expect(tokenizeCorpus(rowsOf([{ text: 'a' }, { body: 'b' }]), tokenizer)).rejects.toThrow(
      "row 1 has no text in 'text'; it has: body",
    )
  })
})
