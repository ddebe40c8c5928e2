import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { shared } from '../../../test/shared.ts'
import { TokenizerError } from '../errors.ts'
import { tokenizerFromLlama2c, tokenizerFromLlama2cBytes } from './llama2c.ts'

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/text/${name}.json`, import.meta.url), 'utf8'))
const texts: string[] = fixture('texts')

/** For each text: the ids of SentencePiece with Llama 2's model, and those of run.c with stories260K's. */
const expected: [number[], number[]][] = fixture('llama2')
const models = shared('assets/models')
const options = { parseSpecialTokens: false }

describe.skipIf(models === undefined)('tokenizer.bin', () => {
  test.each(['llama2-tokenizer-32k/tokenizer.bin', 'stories260K/icpp_tokenizers/tokenizer.bin'])(
    'of Llama 2 gives the ids of SentencePiece: %s',
    (file) => {
      const tokenizer = tokenizerFromLlama2c(`${models}/${file}`)
      expect(tokenizer.vocabSize).toBe(32_000)
      texts.forEach((text, i) => {
        expect(tokenizer.encode(text, options).ids, JSON.stringify(text)).toEqual(expected[i]![0])
      })
    },
  )

  test('of stories260K gives the ids of run.c', () => {
    const tokenizer = tokenizerFromLlama2c(`${models}/stories260K/tokenizer.bin`)
    texts.forEach((text, i) => {
      if (text.includes('▁')) return // a space in SentencePiece, three bytes in run.c
      expect(tokenizer.encode(text, options).ids, JSON.stringify(text)).toEqual(expected[i]![1])
    })
  })

  test('decodes what it encoded', () => {
    const tokenizer = tokenizerFromLlama2c(`${models}/llama2-tokenizer-32k/tokenizer.bin`)
    for (const text of texts) {
      const { ids } = tokenizer.encode(text, options)
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text.replaceAll('▁', ' '))
    }
  })
})

/** A file: the longest length, then tokens with their scores. */
function binary(longest: number, ...tokens: [string | Uint8Array, number][]): Uint8Array {
  const parts = tokens.map(([token, score]) => {
    const bytes = Buffer.from(token as string)
    const head = Buffer.alloc(8)
    head.writeFloatLE(score, 0)
    head.writeInt32LE(bytes.length, 4)
    return Buffer.concat([head, bytes])
  })
  const head = Buffer.alloc(4)
  head.writeInt32LE(longest)
  return Buffer.concat([head, ...parts])
}

const hex = (byte: number) => byte.toString(16).toUpperCase().padStart(2, '0')
const base: [string, number][] = [
  ['<unk>', 0],
  ['\n<s>\n', 0],
  ['\n</s>\n', 0],
  ...Array.from({ length: 256 }, (_, byte): [string, number] => [`<0x${hex(byte)}>`, 0]),
]

test('reads spaces, scores and special tokens', () => {
  const tokenizer = tokenizerFromLlama2cBytes(binary(9, ...base, [' ', -1], ['a', -2], [' a', -3]), 'f')
  expect(tokenizer).toMatchObject({ vocabSize: 262, bos: 1, eos: 2, unk: 0, pad: undefined, addBos: true })
  expect(tokenizer.encode('a</s>é')).toEqual({
    ids: [1, 261, 2, 259, 0xc3 + 3, 0xa9 + 3],
    tokens: ['<s>', '▁a', '</s>', '▁', '<0xC3>', '<0xA9>'],
    offsets: [
      [0, 0],
      [0, 1],
      [1, 5],
      [5, 6],
      [5, 6],
      [5, 6],
    ],
  })
})

test.each<[string, Uint8Array, string]>([
  ['an empty file', new Uint8Array(), 'byte 0: too short for a llama2.c tokenizer'],
  ['a wrong first number', binary(-1), 'byte 0: the longest token cannot have -1 bytes'],
  ['too few tokens', binary(9, ...base.slice(0, 9)), 'top level: 9 tokens are too few'],
  ['an end in a header', binary(9, ...base).slice(0, 10), 'byte 4: the file ends within token 0'],
  ['an end in a token', binary(9, ...base).slice(0, 14), 'byte 12: the file ends within token 0'],
  ['a length past the longest', binary(4, ...base), 'byte 8: token 0 cannot have 5 bytes, the longest has 4'],
  ['a score that is no number', binary(9, ['<unk>', Number.NaN]), 'byte 4: token 0 has no score (NaN)'],
  ['text that is not UTF-8', binary(9, [Uint8Array.of(0xff), 0]), 'byte 12: token 0 is not UTF-8'],
  [
    'a byte token of another byte',
    binary(9, ...base.slice(0, 3), ['<0x01>', 0]),
    'token 3 should be <0x00>, but is',
  ],
  ['a token twice', binary(9, ...base, ['a', 0], ['a', 0]), '"a" has the ids 259 and 260'],
])('%s is refused', (_, bytes, message) => {
  const load = () => tokenizerFromLlama2cBytes(bytes, 't.bin')
  expect(load).toThrow(TokenizerError)
  expect(load).toThrow(message)
})
