import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { shared } from '../../test/shared.ts'
import { loadTokenizer, type Tokenizer, TokenizerError, tokenizerFromHuggingFace } from './index.ts'

const fixturePath = (name: string) => new URL(`../../test/fixtures/text/${name}.json`, import.meta.url)
const fixture = (name: string) => JSON.parse(readFileSync(fixturePath(name), 'utf8'))
const small = (name: string, patch = {}) =>
  tokenizerFromHuggingFace({ tokenizer: { json: { ...fixture(name), ...patch }, file: name } })
const texts: string[] = fixture('texts')
const models = shared('assets/models')

/** Any text: all planes, whole characters. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.array(fc.constantFrom(...texts), { maxLength: 4 }).map((parts) => parts.join('')),
)
const utf8 = (text: string) => [...new TextEncoder().encode(text)]
const bytesOf = (tokenizer: Tokenizer, ids: readonly number[]) =>
  ids.flatMap((id) => [...tokenizer.bytes(id)])

describe('a byte-level vocabulary', () => {
  const tokenizer = small('byte-level', { added_tokens: [] })

  test('gives every text back, at once, in a stream and in bytes', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const { ids } = tokenizer.encode(text)
        expect(tokenizer.decode(ids)).toBe(text)
        expect(bytesOf(tokenizer, ids)).toEqual(utf8(text))
        const stream = tokenizer.stream()
        expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(text)
      }),
      { numRuns: 500 },
    )
  })

  test('covers the text with offsets: each range begins where the last one ends, or is the same character', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        let [start, end] = [0, 0]
        for (const [from, to] of tokenizer.encode(text).offsets) {
          // Bytes of one character share its range, also with a token that goes on from there.
          expect(from === end || (from >= start && from < end && to >= end)).toBe(true)
          ;[start, end] = [from, to]
        }
        expect(end).toBe(text.length)
      }),
      { numRuns: 500 },
    )
  })

  test('has tokens that are the characters of their range, or bytes of them', () => {
    for (const text of texts) {
      const { ids, offsets } = tokenizer.encode(text)
      ids.forEach((id, i) => {
        const own = Buffer.from(tokenizer.bytes(id))
        expect(Buffer.from(text.slice(...offsets[i]!)).includes(own)).toBe(true)
      })
    }
  })

  test('reads half a surrogate pair as U+FFFD', () => {
    const { ids, offsets } = tokenizer.encode('a\ud83d!')
    expect(tokenizer.decode(ids)).toBe('a\ufffd!')
    expect(offsets.at(-1)).toEqual([2, 3])
  })
})

describe('every kind of vocabulary', () => {
  const kinds = [
    'byte-level',
    'byte-fallback',
    'wordpiece',
    'unigram',
    'suffix-bpe',
    'prefix-bpe',
    'wordlevel',
  ]
  const tokenizers = kinds.map((name): [string, Tokenizer] => [name, small(name)])

  test.each(tokenizers)('%s streams any ids as it decodes them', (_, tokenizer) => {
    fc.assert(
      fc.property(fc.array(fc.nat(tokenizer.vocabSize - 1)), fc.boolean(), (ids, skipSpecialTokens) => {
        const stream = tokenizer.stream({ skipSpecialTokens })
        const parts = [...ids.map((id) => stream.push(id)), stream.flush()]
        expect(parts.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }))
        for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u) // no half characters
      }),
    )
  })

  test.each(tokenizers)(
    '%s has offsets inside of the text, in order, and names its tokens',
    (_, tokenizer) => {
      fc.assert(
        fc.property(anyText, (text) => {
          const { ids, tokens, offsets } = tokenizer.encode(text, { addSpecialTokens: false })
          expect(tokens).toEqual(ids.map((id) => tokenizer.token(id)))
          let previous = 0
          for (const [from, to] of offsets) {
            expect(previous <= from && from <= to && to <= text.length).toBe(true)
            previous = from
          }
        }),
      )
    },
  )

  test.each(tokenizers)('%s has an id for every token, and refuses other ids', (_, tokenizer) => {
    for (let id = 0; id < tokenizer.vocabSize; id++) expect(tokenizer.id(tokenizer.token(id))).toBe(id)
    for (const id of [-1, tokenizer.vocabSize, 0.5, Number.NaN]) {
      expect(() => tokenizer.token(id)).toThrow(RangeError)
      expect(() => tokenizer.decode([id])).toThrow(RangeError)
      expect(() => tokenizer.bytes(id)).toThrow(RangeError)
      expect(() => tokenizer.stream().push(id)).toThrow(RangeError)
    }
  })
})

describe('bytes', () => {
  test('of a byte-fallback vocabulary are the text after a space', () => {
    const tokenizer = small('byte-fallback')
    for (const text of texts.filter((t) => t !== '' && !/[▁<]/.test(t))) {
      expect(bytesOf(tokenizer, tokenizer.encode(text, { addSpecialTokens: false }).ids)).toEqual(
        utf8(` ${text}`),
      )
    }
  })

  test.each([
    ['byte-level', '<|endoftext|>', '<|endoftext|>'],
    ['byte-fallback', '<0x0A>', '\n'],
    ['byte-fallback', '<s>', '<s>'],
    ['wordpiece', '##er', 'er'],
    ['wordpiece', 'the', ' the'],
    ['unigram', '▁', ' '],
    ['suffix-bpe', 'the</w>', 'the '],
  ])('of %s: %s', (name, token, text) => {
    const tokenizer = small(name)
    expect([...tokenizer.bytes(tokenizer.id(token)!)]).toEqual(utf8(text))
  })
})

test('a stream gives text as soon as it is whole', () => {
  const tokenizer = small('byte-level')
  const ids = ['a', 'ð', 'Ł', 'Ļ', 'Ĥ', 'Ã', 'b', 'â'].map((token) => tokenizer.id(token)!)
  const stream = tokenizer.stream()
  expect(ids.map((id) => stream.push(id))).toEqual(['a', '', '', '', '🙂', '', '\ufffdb', ''])
  expect(stream.flush()).toBe('\ufffd')
})

describe.skipIf(models === undefined)('real tokenizers', () => {
  test('GPT-2 gives the ids of an independent implementation', () => {
    const tokenizer = loadTokenizer(`${models}/gpt2-tokenizer`)
    expect(tokenizer).toMatchObject({ vocabSize: 50257, bos: 50256, eos: 50256, addBos: false })
    const expected: number[][] = fixture('gpt2')
    texts.forEach((text, i) => {
      const { ids } = tokenizer.encode(text, { parseSpecialTokens: false })
      expect(ids, JSON.stringify(text)).toEqual(expected[i])
      expect(tokenizer.decode(ids)).toBe(text)
    })
  })

  test('TinyStories', () => {
    const tokenizer = loadTokenizer(`${models}/tinystories-bpe25k-tokenizer/tokenizer.json`)
    expect(tokenizer.encode('Once upon a time').tokens.join('')).toBe('OnceĠuponĠaĠtime')
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text).ids)).toBe(text)
  })

  test.each(['gpt2-tokenizer', 'llama2-tokenizer-32k'])(
    '%s takes long texts without spaces in its stride',
    (name) => {
      const tokenizer = loadTokenizer(`${models}/${name}`)
      const letters = Array.from({ length: 100_000 }, (_, i) =>
        String.fromCharCode(97 + ((i * i * 7919) % 26)),
      ).join('')
      for (const text of ['x'.repeat(100_000), ' '.repeat(100_000), letters, '🙂'.repeat(25_000)]) {
        const start = performance.now()
        const { ids } = tokenizer.encode(text)
        expect(performance.now() - start).toBeLessThan(5_000) // quadratic would be minutes; it is about 0.1 s
        expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text)
      }
    },
  )
})

describe('loadTokenizer', () => {
  const folder = (files: Record<string, string>) => {
    const path = mkdtempSync(join(tmpdir(), 'glossa-text-'))
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
    return path
  }

  test('reads what lies beside tokenizer.json', () => {
    const path = folder({
      'tokenizer.json': readFileSync(fixturePath('byte-fallback'), 'utf8'),
      'tokenizer_config.json': '{"chat_template": "config", "eos_token": "<s>"}',
      'special_tokens_map.json': '{"pad_token": "</s>"}',
      'generation_config.json': '{"bos_token_id": 2}',
      'chat_template.jinja': 'file',
    })
    for (const place of [path, join(path, 'tokenizer.json')]) {
      expect(loadTokenizer(place)).toMatchObject({
        chatTemplate: 'file',
        bos: 2,
        eos: 1,
        pad: 2,
        addBos: false,
      })
    }
  })

  test.each<[Record<string, string>, string, string]>([
    [{}, '', 'folder: has no tokenizer.json or tokenizer.bin'],
    [{}, 'tokenizer.json', 'file: ENOENT'],
    [{ 'tokenizer.json': '{"model": ' }, '', 'tokenizer.json: '],
    [{ 'tokenizer.json': 'x' }, '', 'top level: not JSON: Unexpected token'],
    [
      { 'm.gguf': '' },
      'm.gguf',
      'file: is neither a tokenizer.json nor a tokenizer.bin; a GGUF file is read with store',
    ],
    [{ 'tokenizer.bin': '' }, '', 'tokenizer.bin: byte 0: too short'],
    [{ 'tokenizer.json': '{}' }, '', 'tokenizer.json: model: expected a model'],
  ])('refuses %j %s', (files, name, message) => {
    const load = () => loadTokenizer(join(folder(files), name))
    expect(load).toThrow(TokenizerError)
    expect(load).toThrow(message)
  })
})

test('a special token of a template that only every object has is not defined', () => {
  const post = (id: string) => ({
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: {},
  })
  for (const id of ['__proto__', 'constructor', '<s>'])
    expect(() => small('byte-level', { post_processor: post(id) })).toThrow(/special token .* is not defined/)
})
