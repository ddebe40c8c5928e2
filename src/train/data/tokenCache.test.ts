import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { charTokenizer, idsOf } from '../../../test/charTokenizer.ts'
import type { Tokenizer } from '../../text/index.ts'
import { rowsOf } from './rows.ts'
import { openText } from './text.ts'
import { tokenizeCorpus } from './tokenize.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-tokens-'))
afterAll(() => rmSync(folder, { recursive: true }))
const cache = join(folder, 'corpus.tokens')
beforeEach(() => rmSync(cache, { force: true }))

const documents = Array.from({ length: 40 }, (_, i) => `${'ab'.repeat(i)}c`)
const rows = rowsOf(documents)
const tokenizer = charTokenizer()

/** The tokenizer, and what it was asked to encode. */
function counted(of: Tokenizer = tokenizer): { tokenizer: Tokenizer; texts: string[] } {
  const texts: string[] = []
  const encode: Tokenizer['encode'] = (text, options) => {
    if (documents.includes(text)) texts.push(text)
    return of.encode(text, options)
  }
  return { tokenizer: Object.assign(Object.create(of), { encode }), texts }
}

describe('a cache of tokens', () => {
  test('is what was encoded, and the next time is read', async () => {
    const plain = await tokenizeCorpus(rows, tokenizer)
    const first = counted()
    expect(await tokenizeCorpus(rows, first.tokenizer, { cache })).toEqual(plain)
    expect(first.texts).toHaveLength(40)
    const second = counted()
    expect(await tokenizeCorpus(rows, second.tokenizer, { cache })).toEqual(plain)
    expect(second.texts).toHaveLength(8)
    expect(readdirSync(folder)).toEqual(['corpus.tokens'])
  })

  test('of documents that begin with the token that ends them is read, too', async () => {
    const begins = charTokenizer({}, [], true)
    const plain = await tokenizeCorpus(rows, begins)
    for (const encoded of [40, 8]) {
      const { tokenizer: used, texts } = counted(begins)
      expect(await tokenizeCorpus(rows, used, { cache })).toEqual(plain)
      expect(texts).toHaveLength(encoded)
    }
  })

  test('has a head that says what it is, then tokens, then starts', async () => {
    await tokenizeCorpus(rowsOf(['ab', 'c']), tokenizer, { cache })
    const bytes = readFileSync(cache)
    expect(JSON.parse(bytes.subarray(0, 4096).toString())).toMatchObject({
      kind: 'glossa tokens 1',
      type: 'u16',
      tokens: 5,
      documents: 2,
      options: { column: 'text', parseSpecialTokens: false, endOfText: 0 },
    })
    const tokens = idsOf('ab', 0, 'c', 0)
    expect(tokens.map((_, i) => bytes.readUInt16LE(4096 + 2 * i))).toEqual(tokens)
    expect([bytes.readInt32LE(4108), bytes.readInt32LE(4112), bytes.length]).toEqual([0, 3, 4116])
  })

  test('is made anew for other rows, options or tokenizers', async () => {
    const encodes = async (...args: Parameters<typeof tokenizeCorpus>): Promise<boolean> => {
      const [given, used, options] = args
      const { tokenizer: counting, texts } = counted(used)
      const stream = await tokenizeCorpus(given, counting, { ...options, cache })
      expect(stream).toEqual(await tokenizeCorpus(given, used, options))
      return texts.length > 8
    }
    expect(await encodes(rows, tokenizer)).toBe(true)
    expect(await encodes(rows, tokenizer)).toBe(false)
    const [first, ...rest] = documents
    expect(await encodes(rowsOf([...rest, first!]), tokenizer)).toBe(true)
    expect(await encodes(rows, tokenizer, { endOfText: null })).toBe(true)
    expect(await encodes(rows, tokenizer, { endOfText: 2 })).toBe(true)
    expect(await encodes(rows, tokenizer, { parseSpecialTokens: true })).toBe(true)
    expect(await encodes(rows, tokenizer)).toBe(true)
    expect(await encodes(rows, charTokenizer({}, ['a b']))).toBe(true)
    // The same vocabulary, merged in another order.
    expect(await encodes(rows, charTokenizer({}, ['a b', 'b a']))).toBe(true)
    const { encode } = tokenizer
    const odd = Object.assign(Object.create(tokenizer), {
      encode: (text: string) => encode.call(tokenizer, text.replace('abab', 'xy')),
    })
    expect(await encodes(rows, odd)).toBe(true)
  })

  test('of a file is made anew when the file changes', async () => {
    const path = join(folder, 'corpus.txt')
    writeFileSync(path, 'ab\n<|endoftext|>\nc')
    const encode = async () => [...(await tokenizeCorpus(await openText(path), tokenizer, { cache })).tokens]
    expect(await encode()).toEqual(idsOf('ab', 0, 'c', 0))
    const { mtimeMs } = statSync(cache)
    await encode()
    expect(statSync(cache).mtimeMs).toBe(mtimeMs)
    writeFileSync(path, 'ab\n<|endoftext|>\nd')
    utimesSync(path, 1, 1)
    expect(await encode()).toEqual(idsOf('ab', 0, 'd', 0))
    rmSync(path)
  })

  test('cut short is made anew; a file of something else is not overwritten', async () => {
    const whole = await tokenizeCorpus(rows, tokenizer, { cache })
    truncateSync(cache, statSync(cache).size - 1)
    expect(await tokenizeCorpus(rows, tokenizer, { cache })).toEqual(whole)
    writeFileSync(cache, 'my diary')
    await expect(tokenizeCorpus(rows, tokenizer, { cache })).rejects.toThrow('it is not overwritten')
    expect(readFileSync(cache, 'utf8')).toBe('my diary')
  })

  test('that is not finished leaves nothing', async () => {
    const bad = rowsOf([...documents, { body: 'a' }])
    const stamped = { ...bad, stamp: 'bad' }
    await expect(tokenizeCorpus(stamped, tokenizer, { cache })).rejects.toThrow('row 40 has no text')
    expect(existsSync(cache)).toBe(false)
    expect(readdirSync(folder)).toEqual([])
  })
})
