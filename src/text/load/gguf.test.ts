import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gguf } from '@huggingface/gguf'
import { describe, expect, test } from 'vitest'
import { shared } from '../../../test/shared.ts'
import { TokenizerError } from '../errors.ts'
import { tokenizerFromGguf } from './gguf.ts'
import { ggufPreTokenizers } from './ggufPre.ts'
import { tokenizerFromHuggingFace } from './huggingface.ts'
import { tokenizerFromLlama2c } from './llama2c.ts'

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/text/${name}.json`, import.meta.url), 'utf8'))
const texts: string[] = fixture('texts')
const cases: Record<string, { patch: object; hashes: string }> = fixture('cases')

type Metadata = Record<string, unknown>

/** What a converter would write for a byte-level tokenizer.json. */
function ggufOf(json: ReturnType<typeof fixture>, pre: string): Metadata {
  const { vocab, merges } = json.model as { vocab: Record<string, number>; merges: (string | string[])[] }
  const tokens = Object.entries(vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token)
  return {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((token) => (token === '<|endoftext|>' ? 3 : 1)),
    'tokenizer.ggml.merges': merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
    'tokenizer.ggml.bos_token_id': vocab['<|endoftext|>'],
    'tokenizer.ggml.add_bos_token': false,
  }
}

describe('a byte-level vocabulary splits as the reference does for its tokenizer.json', () => {
  const names = Object.keys(cases).filter((name) => name.startsWith('gguf '))
  test.each(names)('%s', (name) => {
    const tokenizer = tokenizerFromGguf(ggufOf(fixture('byte-level'), name.slice(5)), 'model.gguf')
    for (let i = 0; i < texts.length; i += 5) {
      const rows = texts.slice(i, i + 5).map((text) => {
        const { ids, offsets } = tokenizer.encode(text)
        return [ids, offsets, tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecialTokens: true })]
      })
      const hash = createHash('sha1').update(JSON.stringify(rows)).digest('hex').slice(0, 6)
      expect(hash, JSON.stringify(texts.slice(i, i + 5))).toBe(
        cases[name]!.hashes.slice((6 * i) / 5, (6 * i) / 5 + 6),
      )
    }
  })

  test.each(Object.keys(ggufPreTokenizers))('%s keeps every character', (pre) => {
    const tokenizer = tokenizerFromGguf(ggufOf(fixture('byte-level'), pre), 'model.gguf')
    for (const text of texts)
      expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }).ids)).toBe(text)
  })

  const gpt2 = shared('assets/models/gpt2-tokenizer/tokenizer.json')
  test.skipIf(gpt2 === undefined)('GPT-2', () => {
    const json = JSON.parse(readFileSync(gpt2!, 'utf8'))
    const expected = tokenizerFromHuggingFace({ tokenizer: { json, file: gpt2! } })
    const tokenizer = tokenizerFromGguf(ggufOf(json, 'gpt-2'), 'model.gguf')
    for (const text of texts) expect(tokenizer.encode(text)).toEqual(expected.encode(text))
  })
})

const stories = shared('assets/models/stories260K')
test.skipIf(stories === undefined)(
  'a SentencePiece model is the same in GGUF and in tokenizer.bin',
  async () => {
    const file = `${stories}/stories260Ktok512.gguf`
    const { metadata } = await gguf(file, { allowLocalFile: true })
    const tokenizer = tokenizerFromGguf({ ...metadata }, file)
    const expected = tokenizerFromLlama2c(`${stories}/tokenizer.bin`)
    const { bos, eos, unk, pad, addBos, vocabSize } = tokenizer
    expect({ bos, eos, unk, pad, addBos, vocabSize }).toEqual({
      bos: 1,
      eos: 2,
      unk: 0,
      pad: undefined,
      addBos: true,
      vocabSize: 512,
    })
    for (let id = 0; id < 512; id++) expect(tokenizer.token(id)).toBe(expected.token(id))
    for (const text of texts) {
      expect(tokenizer.encode(text)).toEqual(expected.encode(text))
      expect(tokenizer.encode(text, { parseSpecialTokens: false })).toEqual(
        expected.encode(text, { parseSpecialTokens: false }),
      )
    }
  },
)

/** <unk>, <s>, </s>, then a few pieces, some bytes and a token of the user's. */
const tiny: Metadata = {
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': [
    '<unk>',
    '<s>',
    '</s>',
    '▁',
    'a',
    'b',
    'ab',
    '▁a',
    'aa',
    '<0xC3>',
    '<0xA9>',
    '<user>',
  ],
  'tokenizer.ggml.scores': [0, 0, 0, -9, -9, -9, -3, -2, -3, 0, 0, 0],
  'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, 1, 1, 1, 1, 6, 6, 4],
}
const tokens = (metadata: Metadata, text: string, options = {}) =>
  tokenizerFromGguf(metadata, 'f').encode(text, options).tokens

describe('SentencePiece merges', () => {
  test('the best score first, the leftmost of equals', () => {
    // ▁a (-2) goes before ab (-3); of aa and ab, both -3, the left one.
    expect(tokens(tiny, 'ab')).toEqual(['<s>', '▁a', 'b'])
    expect(tokens(tiny, 'baab')).toEqual(['<s>', '▁', 'b', 'aa', 'b'])
    expect(tokens(tiny, 'bab')).toEqual(['<s>', '▁', 'b', 'ab'])
  })

  test('spell unknown characters in bytes, where there are all of them', () => {
    expect(tokens(tiny, 'é')).toEqual(['<s>', '▁', '<0xC3>', '<0xA9>'])
    expect(tokens(tiny, 'è你')).toEqual(['<s>', '▁', '<unk>'])
  })

  test('put a space before each text that a special token does not follow', () => {
    expect(tokens(tiny, 'a</s>a')).toEqual(['<s>', '▁a', '</s>', '▁a'])
    expect(tokens(tiny, 'a<user>')).toEqual(['<s>', '▁a', '<user>'])
    const bare = { ...tiny, 'tokenizer.ggml.add_space_prefix': false, 'tokenizer.ggml.add_bos_token': false }
    expect(tokens({ ...bare, 'tokenizer.ggml.add_eos_token': true }, 'a a')).toEqual(['a', '▁a', '</s>'])
    expect(tokenizerFromGguf(bare, 'f').decode([7, 4])).toBe(' aa')
  })

  test('leave no way to write a special token, on request', () => {
    expect(tokens(tiny, '<s><user>', { parseSpecialTokens: false })).toEqual(['<s>', '▁', '<unk>', '<user>'])
  })

  test('count characters that only occur inside of tokens', () => {
    const metadata = {
      ...tiny,
      'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', '▁', 'xy'],
      'tokenizer.ggml.scores': [0, 0, 0, -1, -2],
      'tokenizer.ggml.token_type': [2, 3, 3, 1, 1],
    }
    expect(tokens(metadata, 'xyx')).toEqual(['<s>', '▁', 'xy', '<unk>'])
  })
})

test('ids may be big integers, and the chat template is found', () => {
  const metadata = {
    ...tiny,
    'tokenizer.ggml.bos_token_id': 2n,
    'tokenizer.ggml.padding_token_id': 4294967295n,
    'tokenizer.chat_template': '{{ messages }}',
  }
  expect(tokenizerFromGguf(metadata, 'f')).toMatchObject({
    bos: 2,
    pad: undefined,
    chatTemplate: '{{ messages }}',
  })
})

test.each<[Metadata, string]>([
  [{ 'tokenizer.ggml.model': undefined }, 'model: the file has no tokenizer'],
  [{ 'tokenizer.ggml.model': 'rwkv' }, 'model: unknown tokenizer "rwkv"; known: llama, gpt2'],
  [{ 'tokenizer.ggml.model': 7 }, 'model: expected a string, found 7'],
  [{ 'tokenizer.ggml.tokens': undefined }, 'tokens: is missing'],
  [{ 'tokenizer.ggml.tokens': ['a', 1] }, 'tokens[1]: expected a string, found 1'],
  [{ 'tokenizer.ggml.tokens': ['a', 'a'] }, 'tokens[1]: "a" has the ids 0 and 1'],
  [{ 'tokenizer.ggml.scores': [0] }, 'scores: has 1 entries for 12 tokens'],
  [{ 'tokenizer.ggml.scores': Array(12).fill(Number.NaN) }, 'scores[0]: expected a number, found null'],
  [{ 'tokenizer.ggml.token_type': 3 }, 'token_type: expected a list, found 3'],
  [{ 'tokenizer.ggml.bos_token_id': 12 }, 'bos_token_id: 12 is not a token id'],
  [{ 'tokenizer.ggml.add_bos_token': 1 }, 'add_bos_token: expected true or false, found 1'],
  [{ 'tokenizer.ggml.remove_extra_whitespaces': true }, 'remove_extra_whitespaces: is not supported'],
  [{ 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.pre': 'gpt-9' }, 'pre: unknown pre-tokenizer "gpt-9"'],
  [{ 'tokenizer.ggml.model': 'gpt2' }, 'merges: is missing'],
  [
    { 'tokenizer.ggml.model': 'gpt2', 'tokenizer.ggml.merges': ['a c'] },
    'merges[0]: "c" is not in the vocabulary',
  ],
])('%j is refused', (change, message) => {
  const load = () => tokenizerFromGguf({ ...tiny, ...change }, 'm.gguf')
  expect(load).toThrow(TokenizerError)
  expect(load).toThrow(`m.gguf: tokenizer.ggml.${message}`)
})
