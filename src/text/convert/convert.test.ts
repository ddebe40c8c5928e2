import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { shared } from '../../../test/shared.ts'
import { loadTokenizer, TokenizerError, tokenizerFromGguf, tokenizerFromLlama2c } from '../index.ts'
import { byteToken } from '../pipeline/vocabulary.ts'
import { tokenizerFilesFromGguf } from './fromGguf.ts'
import { tokenizerToGguf } from './toGguf.ts'

type Json = Record<string, unknown>

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/text/${name}.json`, import.meta.url), 'utf8'))
const texts: string[] = fixture('texts')

const root = mkdtempSync(join(tmpdir(), 'glossa-tokenizer-'))
afterAll(() => rmSync(root, { recursive: true }))

/** A folder with these files. */
function folderOf(files: Readonly<Record<string, object>>): string {
  const folder = mkdtempSync(join(root, 'x'))
  for (const [name, json] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(json))
  return folder
}

/** GGUF metadata as a reader gives them: without their types. */
function toGguf(folder: string, rows?: number): Json {
  const tokenizer = loadTokenizer(folder)
  const metadata = tokenizerToGguf(tokenizer, folder, rows ?? tokenizer.vocabSize)
  return Object.fromEntries(Object.entries(metadata).map(([key, [, value]]) => [key, value]))
}

/** Ids, offsets and text of every fixture text are the same. */
function expectSame(folder: string, metadata: Json): void {
  const [own, theirs] = [tokenizerFromGguf(metadata, 'm.gguf'), loadTokenizer(folder)]
  for (const text of texts) {
    const { ids, offsets } = theirs.encode(text)
    expect(own.encode(text).ids, text).toEqual(ids)
    expect(own.encode(text).offsets, text).toEqual(offsets)
    expect(own.decode(ids), text).toEqual(theirs.decode(ids))
  }
  for (const role of ['bos', 'eos', 'unk', 'pad', 'addBos', 'chatTemplate'] as const)
    expect(own[role], role).toBe(theirs[role])
}

/** The byte-level fixture, its added tokens such as GGUF can have. */
function byteLevel(change: Json = {}): Json {
  const json = fixture('byte-level')
  const added = json.added_tokens.filter(
    (token: Json) => !(token.single_word || token.lstrip || token.rstrip),
  )
  return { ...json, added_tokens: added, post_processor: null, ...change }
}
const template = '{% for message in messages %}{{ message.content }}{% endfor %}'
const config = {
  bos_token: '<|endoftext|>',
  eos_token: null,
  pad_token: '<|endoftext|>',
  chat_template: template,
}

const bytes = Array.from({ length: 256 }, (_, byte) => byteToken(byte))
const zeros = bytes.map(() => 0)

/** A SentencePiece vocabulary small enough to see through. */
const sentencePiece = (change: Json = {}): Json => ({
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', '▁a', 'ab', '▁ab', '▁', 'a', 'b', '<user>', ...bytes],
  'tokenizer.ggml.scores': [0, 0, 0, -1, -2, -3, -4, -5, -6, 0, ...zeros],
  'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, 1, 1, 1, 1, 4, ...bytes.map(() => 6)],
  'tokenizer.ggml.bos_token_id': 1,
  'tokenizer.ggml.eos_token_id': 2,
  'tokenizer.ggml.unknown_token_id': 0,
  'tokenizer.ggml.add_eos_token': true,
  ...change,
})

describe('there and back', () => {
  test.each([
    ['ByteLevel alone', {}, 'gpt-2'],
    [
      'single digits',
      {
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Digits', individual_digits: true },
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
          ],
        },
      },
      'starcoder',
    ],
  ])('byte-level: %s', (_, change, pre) => {
    const folder = folderOf({ 'tokenizer.json': byteLevel(change), 'tokenizer_config.json': config })
    const metadata = toGguf(folder)
    expect(metadata['tokenizer.ggml.pre']).toBe(pre)
    const back = folderOf(tokenizerFilesFromGguf(metadata, 'm.gguf') as unknown as Record<string, object>)
    expectSame(back, metadata)
    // The fixture leaves an id out. Its token in GGUF is no longer marked as unused, but nothing becomes it either.
    const types = (metadata['tokenizer.ggml.token_type'] as number[]).map((type) => (type === 5 ? 1 : type))
    expect(toGguf(back)).toEqual({ ...metadata, 'tokenizer.ggml.token_type': types })
    const [before, after] = [loadTokenizer(folder), loadTokenizer(back)]
    for (const text of texts) expect(after.encode(text).ids, text).toEqual(before.encode(text).ids)
  })

  test('SentencePiece, whose merges follow from scores', () => {
    const folder = folderOf(
      tokenizerFilesFromGguf(sentencePiece(), 'm.gguf') as unknown as Record<string, object>,
    )
    const json = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'))
    // ▁ab can be made of ▁a and b, or of ▁ and ab.
    expect(json.model.merges).toEqual([
      ['▁', 'a'],
      ['a', 'b'],
      ['▁a', 'b'],
      ['▁', 'ab'],
    ])
    const tokenizer = loadTokenizer(folder)
    expect(tokenizer.encode('ab a<user>b').ids).toEqual([1, 5, 3, 9, 6, 8, 2])
    const metadata = toGguf(folder)
    expectSame(folder, metadata)
    expect(metadata['tokenizer.ggml.add_eos_token']).toBe(true)
  })

  const llama2 = shared('assets/models/llama2-tokenizer-32k/tokenizer.bin')
  test.skipIf(llama2 === undefined)("Llama 2's 32000 tokens", () => {
    const file = readFileSync(llama2!)
    const [tokens, scores]: [string[], number[]] = [[], []]
    for (let at = 4; at < file.length; ) {
      const [score, length] = [file.readFloatLE(at), file.readInt32LE(at + 4)]
      tokens.push(file.toString('utf8', at + 8, at + 8 + length).replaceAll(' ', '▁'))
      scores.push(score)
      at += 8 + length
    }
    const reference = tokenizerFromLlama2c(llama2!)
    const metadata = sentencePiece({
      'tokenizer.ggml.tokens': tokens.map((_, id) => reference.token(id)),
      'tokenizer.ggml.scores': scores,
      'tokenizer.ggml.token_type': tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)),
      'tokenizer.ggml.add_eos_token': false,
    })
    const folder = folderOf(tokenizerFilesFromGguf(metadata, 'm.gguf') as unknown as Record<string, object>)
    const own = loadTokenizer(folder)
    for (const text of texts) expect(own.encode(text).ids, text).toEqual(reference.encode(text).ids)
    // The longer runs of spaces share a score.
    for (let length = 1; length < 100; length++)
      for (const text of [' '.repeat(length), `${' '.repeat(length)}the`, `x${' '.repeat(length)}.`])
        expect(own.encode(text).ids, text).toEqual(reference.encode(text).ids)
    expectSame(folder, toGguf(folder))
  })

  test('rows of the embedding without a token get one that nothing becomes', () => {
    const folder = folderOf({ 'tokenizer.json': byteLevel(), 'tokenizer_config.json': config })
    const metadata = toGguf(folder, 570)
    expect((metadata['tokenizer.ggml.tokens'] as string[]).slice(-2)).toEqual(['[PAD568]', '[PAD569]'])
    expect((metadata['tokenizer.ggml.token_type'] as number[]).at(-1)).toBe(5)
    expect(tokenizerFromGguf(metadata, 'm.gguf').encode('[PAD569]').ids).toEqual(
      loadTokenizer(folder).encode('[PAD569]').ids,
    )
  })
})

describe('refuses what the other side cannot say', () => {
  const refusal = (act: () => unknown): string => {
    try {
      act()
    } catch (error) {
      expect(error).toBeInstanceOf(TokenizerError)
      return (error as Error).message
    }
    throw new Error('it was converted')
  }

  test.each<[string, Json, RegExp]>([
    [
      'an added token with rules',
      fixture('byte-level'),
      /added_tokens\[1\]\.single_word: GGUF cannot say this of "word"/,
    ],
    [
      'a normalizer',
      byteLevel({ normalizer: { type: 'NFC' } }),
      /normalized: GGUF looks for|normalizer: GGUF has none/,
    ],
    [
      'another way to split',
      byteLevel({
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: 'x+' }, behavior: 'Isolated', invert: false },
            { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
          ],
        },
      }),
      /pre_tokenizer: GGUF has no name for splitting by \["x\+"\]/,
    ],
    ['WordPiece', fixture('wordpiece'), /model\.type: only BPE vocabularies/],
    ['a list that no scores give', fixture('byte-fallback'), /model\.merges.*: (by GGUF's scores|are mixed)/],
    [
      'tokens around a text',
      byteLevel({
        post_processor: {
          type: 'TemplateProcessing',
          single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: 'x', type_id: 0 } }],
          special_tokens: { x: { id: 'x', ids: [5], tokens: ['x'] } },
        },
      }),
      /post_processor: puts the tokens 5 around a text/,
    ],
  ])('%s', (_, json, message) => {
    const folder = folderOf({ 'tokenizer.json': json })
    expect(refusal(() => toGguf(folder))).toMatch(message)
  })

  test('more tokens than rows', () => {
    const folder = folderOf({ 'tokenizer.json': byteLevel() })
    expect(refusal(() => toGguf(folder, 100))).toMatch(/tokens are more than the 100 rows of the embedding/)
  })

  test.each<[string, Json, RegExp]>([
    [
      'equal scores',
      { 'tokenizer.ggml.scores': [0, 0, 0, -1, -1, -3, -4, -5, -6, 0, ...zeros] },
      /scores\[\d\]: "(▁a|ab)" and "(▁a|ab)" have the same score/,
    ],
    [
      'a character that is no token',
      {
        'tokenizer.ggml.tokens': [
          '<unk>',
          '<s>',
          '</s>',
          '▁a',
          'ax',
          '▁ab',
          '▁',
          'a',
          'b',
          '<user>',
          ...bytes,
        ],
      },
      /tokens\[4\]: "ax" has a character that is no token/,
    ],
    [
      'bytes without a token',
      {
        'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>'],
        'tokenizer.ggml.scores': [0, 0, 0],
        'tokenizer.ggml.token_type': [2, 3, 3],
      },
      /tokens: not every byte has a token/,
    ],
  ])('%s', (_, change, message) => {
    expect(refusal(() => tokenizerFilesFromGguf(sentencePiece(change), 'm.gguf'))).toMatch(message)
  })
})
