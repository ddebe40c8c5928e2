import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { TokenizerError } from '../errors.ts'
import type { Tokenizer } from '../tokenizer.ts'
import { type HuggingFaceFiles, tokenizerFromHuggingFace } from './huggingface.ts'

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/text/${name}.json`, import.meta.url), 'utf8'))

type Json = Record<string, unknown>
const texts: string[] = fixture('texts')
const cases: Record<string, { base: string; patch: Json; hashes: string }> = fixture('cases')

/** A small tokenizer.json with sections replaced; of `model` only fields. */
function patched(base: string, patch: Json): Json {
  const json = fixture(base)
  const { model, ...sections } = patch
  return { ...json, ...sections, model: { ...json.model, ...(model as Json | undefined) } }
}

const from = (json: unknown, more: Partial<HuggingFaceFiles> = {}) =>
  tokenizerFromHuggingFace({ tokenizer: { json, file: 'tokenizer.json' }, ...more })

const source = (file: string, json: unknown) => ({ file, json })

/** What huggingface.py computed of five texts. */
function hashOf(tokenizer: Tokenizer, five: readonly string[]): string {
  const rows = five.map((text) => {
    const { ids, offsets } = tokenizer.encode(text)
    return [ids, offsets, tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecialTokens: true })]
  })
  return createHash('sha1').update(JSON.stringify(rows)).digest('hex').slice(0, 6)
}

describe('ids, offsets and decoded text are those of the reference implementation', () => {
  test.each(Object.entries(cases))('%s', (_, { base, patch, hashes }) => {
    const tokenizer = from(patched(base, patch))
    for (let i = 0; i < texts.length; i += 5) {
      const five = texts.slice(i, i + 5)
      const expected = hashes.slice((6 * i) / 5, (6 * i) / 5 + 6)
      expect(hashOf(tokenizer, five), `texts ${JSON.stringify(five)}`).toBe(expected)
    }
  })
})

describe('@huggingface/tokenizers, which this is not built on', () => {
  const idsOfLibrary = (json: Json, text: string) =>
    new LibraryTokenizer(json, { clean_up_tokenization_spaces: false }).encode(text).ids

  test('agrees on byte-level BPE without special cases', () => {
    const json = patched('byte-level', { added_tokens: [] })
    const library = new LibraryTokenizer(json, { clean_up_tokenization_spaces: false })
    const tokenizer = from(json)
    // It counts U+FEFF as a space, and U+0085 not, which JavaScript's \s does.
    const usual = texts.filter((text) => !/[\ufeff\x85]/.test(text))
    for (const text of usual) expect(tokenizer.encode(text).ids).toEqual(library.encode(text).ids)
  })

  // Expected ids are those of the reference implementation (huggingface.py).
  test.each([
    ['merges with a prefix for what continues a word', 'prefix-bpe', {}, 'Hello world'],
    ['unknown words', 'wordlevel', {}, 'a b   c'],
    ['what Split does with its matches', 'byte-level', cases['split MergedWithNext False']!.patch, ' a'],
    ['the character map of SentencePiece', 'unigram', cases['unigram, precompiled']!.patch, '11 🙂'],
    ['added tokens that are whole words', 'byte-level', {}, 'wordy words word.'],
    ['what is a space', 'byte-level', {}, 'a \u0085b'],
  ])('is wrong about %s', (_, base, patch, text) => {
    const json = patched(base, patch)
    expect(idsOfLibrary(json, text)).not.toEqual(from(json).encode(text).ids)
  })
})

describe('special tokens', () => {
  const special = (more: Partial<HuggingFaceFiles>) => {
    const { bos, eos, unk, pad, addBos } = from(fixture('byte-fallback'), more)
    return { bos, eos, unk, pad, addBos }
  }

  test('have their usual names where nothing is declared', () => {
    expect(special({})).toEqual({ bos: 1, eos: 2, unk: 0, pad: undefined, addBos: true })
  })

  test('tokenizer_config.json goes before special_tokens_map.json and generation_config.json', () => {
    const config = source('tokenizer_config.json', { eos_token: { content: '<s>' }, pad_token: '</s>' })
    const specialTokensMap = source('special_tokens_map.json', { eos_token: '</s>', bos_token: '</s>' })
    const generationConfig = source('generation_config.json', { bos_token_id: 0, eos_token_id: [0, 1] })
    expect(special({ config, specialTokensMap, generationConfig })).toMatchObject({ bos: 2, eos: 1, pad: 2 })
    expect(special({ generationConfig })).toMatchObject({ bos: 0, eos: 0 })
  })

  test('null, and a name that the vocabulary lacks, is none', () => {
    const config = source('tokenizer_config.json', { bos_token: null, pad_token: '[PAD]' })
    expect(special({ config })).toMatchObject({ bos: undefined, pad: undefined })
  })

  test('add_bos_token and add_eos_token are obeyed', () => {
    const encode = (json: Json) =>
      from(fixture('byte-fallback'), { config: source('tokenizer_config.json', json) }).encode('the')
    const [bos, ...rest] = encode({}).ids
    expect(bos).toBe(1)
    expect(encode({ add_bos_token: false, add_eos_token: true })).toMatchObject({
      ids: [...rest, 2],
      offsets: [...rest.map(() => expect.anything()), [3, 3]],
    })
    expect(() => encode({ add_bos_token: true, bos_token: null })).toThrow(
      'tokenizer_config.json: add_bos_token: is true, but there is no such token',
    )
  })

  test('come from added_tokens_decoder, too', () => {
    const config = source('tokenizer_config.json', {
      added_tokens_decoder: { 640: { content: '<|im_end|>', special: true } },
      eos_token: '<|im_end|>',
    })
    const tokenizer = from(fixture('byte-fallback'), { config })
    expect(tokenizer.eos).toBe(640)
    expect(tokenizer.vocabSize).toBe(641)
    expect(tokenizer.encode('a<|im_end|>').ids.at(-1)).toBe(640)
    expect(tokenizer.decode([640], { skipSpecialTokens: true })).toBe('')
  })

  test('are plain text on request', () => {
    const tokenizer = from(fixture('byte-fallback'))
    const { ids } = tokenizer.encode('a</s>', { parseSpecialTokens: false })
    expect(ids).not.toContain(2)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('a</s>')
  })
})

test('the chat template is the file, else as in the configuration, by name where there are several', () => {
  const chatTemplate = [
    { name: 'tool_use', template: 'tools' },
    { name: 'default', template: 'plain' },
  ]
  const config = source('tokenizer_config.json', { chat_template: chatTemplate })
  expect(from(fixture('wordlevel')).chatTemplate).toBeUndefined()
  expect(from(fixture('wordlevel'), { config }).chatTemplate).toEqual({ default: 'plain', tool_use: 'tools' })
  expect(from(fixture('wordlevel'), { config, chatTemplate: 'file' }).chatTemplate).toBe('file')
})

describe('a file that cannot be used is refused, saying where and why', () => {
  const sequence = (...pretokenizers: Json[]) => ({ type: 'Sequence', pretokenizers })
  const split = (pattern: Json) => ({ type: 'Split', pattern, behavior: 'Isolated', invert: false })
  test.each<[Json, string]>([
    [
      { pre_tokenizer: { type: 'UnicodeScripts' } },
      'pre_tokenizer.type: unknown pre-tokenizer "UnicodeScripts"',
    ],
    [{ normalizer: { type: 'NFX' } }, 'normalizer.type: unknown normalizer "NFX"; known: BertNormalizer'],
    [{ decoder: { type: 'toString' } }, 'decoder.type: unknown decoder "toString"'],
    [{ post_processor: 3 }, 'post_processor: expected a post-processor, found 3'],
    [
      { model: { type: 'Trie' } },
      'model.type: unknown model "Trie"; known: BPE, Unigram, WordLevel, WordPiece',
    ],
    [{ model: { dropout: 0.1 } }, 'model.dropout: '],
    [{ model: { colour: 'red' } }, 'model: Unrecognized key: "colour"'],
    [{ model: { merges: [['a', 'nope']] } }, 'model.merges[0]: "nope" is not in the vocabulary'],
    [{ model: { merges: ['a b c'] } }, 'model.merges[0]: not a pair of tokens: "a b c"'],
    [{ model: { vocab: { a: 0, b: 0 } } }, 'model.vocab: id 0 belongs to "a" and to "b"'],
    [{ model: { vocab: { a: 1e9 } } }, 'model.vocab: not a token id: 1000000000'],
    [{ model: { unk_token: '?!' } }, 'model.unk_token: "?!" is not in the vocabulary'],
    [{ version: '2.0' }, 'version: '],
    [{ added_tokens: [{ id: 1, content: '<|endoftext|>' }] }, 'added_tokens[0]: id 1 belongs to '],
    [{ added_tokens: [{ content: 'new' }] }, 'added_tokens[0]: not an added token: {"content":"new"}'],
    [
      { pre_tokenizer: sequence({ type: 'Whitespace' }, split({ Regex: '(a' })) },
      'pre_tokenizer.pretokenizers[1].pattern.Regex: regular expression "(a", at 2: missing )',
    ],
    [{ pre_tokenizer: split({ Glob: '*' }) }, 'pre_tokenizer.pattern: '],
    [{ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: 'no' } }, 'pre_tokenizer.add_prefix_space: '],
    [
      { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAAA' } },
      'normalizer.precompiled_charsmap: not a',
    ],
    [{ nonsense: true }, 'top level: Unrecognized key: "nonsense"'],
  ])('%j', (patch, message) => {
    const load = () => from(patched('byte-level', patch))
    expect(load).toThrow(TokenizerError)
    expect(load).toThrow(`tokenizer.json: ${message}`)
  })

  test('components nested without end', () => {
    let component: Json = { type: 'Whitespace' }
    for (let i = 0; i < 1000; i++) component = sequence(component)
    expect(() => from(patched('byte-level', { pre_tokenizer: component }))).toThrow('nested too deeply')
  })

  test('a character that the vocabulary cannot express is an error of encode', () => {
    const tokenizer = from(patched('byte-fallback', { model: { byte_fallback: false, unk_token: null } }))
    expect(() => tokenizer.encode('的')).toThrow('tokenizer.json: model: no token for the character "的"')
  })
})
