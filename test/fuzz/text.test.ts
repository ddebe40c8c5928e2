/**
 * Damaged and hostile tokenizer files: each is a working tokenizer, or a TokenizerError that names the file,
 * the place and the reason. No other exception, no long wait, no large allocation.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test, vi } from 'vitest'
import {
  loadTokenizer,
  type Tokenizer,
  TokenizerError,
  tokenizerFilesFromGguf,
  tokenizerFromGguf,
  tokenizerFromHuggingFace,
  tokenizerToGguf,
} from '../../src/text/index.ts'
import { change, damage, damaged, factor, mutated, runs, strange } from './mutations.ts'

const parameters = runs(150)
vi.setConfig({ testTimeout: 60_000 * factor })

const folder = mkdtempSync(join(tmpdir(), 'glossa-fuzz-'))
afterAll(() => rmSync(folder, { recursive: true }))

const fixture = (name: string) =>
  readFileSync(new URL(`../fixtures/text/${name}.json`, import.meta.url), 'utf8')
const cases: { base: string; patch: Tree }[] = Object.values(JSON.parse(fixture('cases')))
const texts = [
  '',
  'Hello wörld, 2024!',
  'the\n\n  你好 🙂é <|endoftext|> [MASK] </s> ▁x',
  'aaaaaaaaaaaaaaaaaaaaaa\u0000\ud800',
]

/** Runs `load` and uses what it gives; both ways to end well. */
function probe(load: () => Tokenizer): 'loaded' | 'refused' {
  const began = performance.now()
  const memory = process.resourceUsage().maxRSS
  const outcome = attempt(load)
  expect(performance.now() - began, 'milliseconds').toBeLessThan(2000)
  expect((process.resourceUsage().maxRSS - memory) / 1024, 'MiB').toBeLessThan(256)
  return outcome
}

function attempt(load: () => Tokenizer): 'loaded' | 'refused' {
  try {
    const tokenizer = load()
    expect(tokenizer.vocabSize).toBeLessThanOrEqual(2 ** 22)
    for (const text of texts) {
      const { ids, tokens, offsets } = tokenizer.encode(text)
      expect(tokens.length).toBe(ids.length)
      expect(offsets.length).toBe(ids.length)
      for (const [start, end] of offsets) expect(start <= end && end <= text.length).toBe(true)
      const stream = tokenizer.stream()
      expect(ids.map((id) => stream.push(id)).join('') + stream.flush()).toBe(tokenizer.decode(ids))
      for (const id of ids) expect(tokenizer.bytes(id)).toBeInstanceOf(Uint8Array)
    }
    return 'loaded'
  } catch (error) {
    if (!(error instanceof TokenizerError)) throw error
    const { file, place, reason, message } = error
    expect(file).not.toBe('')
    expect(place).not.toBe('')
    expect(reason).not.toBe('')
    expect(message).toBe(`${file}: ${place}: ${reason}`)
    expect(message.length).toBeLessThan(5000)
    return 'refused'
  }
}

type Tree = { [key: string]: unknown }

/** GGUF metadata by way of tokenizer.json. */
function convertedToFiles(metadata: Tree): Tokenizer {
  const files = tokenizerFilesFromGguf(metadata, 'm.gguf')
  const source = (name: keyof typeof files) => ({ json: JSON.parse(JSON.stringify(files[name])), file: name })
  const converted = tokenizerFromHuggingFace({
    tokenizer: source('tokenizer.json'),
    config: source('tokenizer_config.json'),
  })
  expectSame(converted, tokenizerFromGguf(metadata, 'm.gguf'))
  return converted
}

/** A tokenizer.json by way of GGUF metadata. */
function convertedToGguf(json: unknown): Tokenizer {
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
  const tokenizer = loadTokenizer(folder)
  const metadata = tokenizerToGguf(tokenizer, folder, tokenizer.vocabSize)
  const plain = Object.entries(metadata).map(([key, [, value]]) => [key, value])
  const converted = tokenizerFromGguf(Object.fromEntries(plain), 'm.gguf')
  expectSame(converted, tokenizer)
  return converted
}

/** What cannot be converted is refused: the rest gives the same ids and texts. */
function expectSame(converted: Tokenizer, original: Tokenizer): void {
  for (const text of texts) {
    const { ids } = original.encode(text)
    expect(converted.encode(text).ids, text).toEqual(ids)
    expect(converted.decode(ids), text).toEqual(original.decode(ids))
  }
}

/** A small tokenizer.json, as some case of the fixtures has it. */
const tokenizerJson = fc.nat(cases.length - 1).map((i): Tree => {
  const { base, patch } = cases[i]!
  const { model, ...sections } = structuredClone(patch)
  const json = JSON.parse(fixture(base))
  return { ...json, ...sections, model: { ...json.model, ...(model as Tree | undefined) } }
})

const byteTokens = Array.from(
  { length: 256 },
  (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
)

/** Metadata of a small SentencePiece vocabulary. */
const sentencePiece = (): Tree => ({
  'tokenizer.ggml.model': 'llama',
  'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', '▁', 'a', '▁a', 'aa', '<user>', '', ...byteTokens],
  'tokenizer.ggml.scores': [0, 0, 0, -9, -9, -2, -3, 0, 0, ...byteTokens.map(() => 0)],
  'tokenizer.ggml.token_type': [2, 3, 3, 1, 1, 1, 1, 4, 5, ...byteTokens.map(() => 6)],
  'tokenizer.ggml.bos_token_id': 1,
  'tokenizer.ggml.eos_token_id': 2,
  'tokenizer.ggml.add_bos_token': true,
  'tokenizer.chat_template': '{{ x }}',
})

describe('tokenizer.json', () => {
  test('with sections changed', () => {
    const outcomes = new Map<string, number>()
    fc.assert(
      fc.property(tokenizerJson, fc.array(change, { minLength: 1, maxLength: 3 }), (json, changes) => {
        const changed = changes.reduce<unknown>(mutated, json)
        const outcome = probe(() =>
          tokenizerFromHuggingFace({ tokenizer: { json: changed, file: 'tokenizer.json' } }),
        )
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      }),
      { ...parameters, numRuns: 4 * parameters.numRuns },
    )
    expect(outcomes.size).toBe(2) // the changes are neither always fatal nor always harmless
  })

  test.each(['byte-level', 'SentencePiece'])('%s with a few changes, converted to GGUF', (kind) => {
    const convertible = (): unknown => {
      if (kind === 'SentencePiece') return tokenizerFilesFromGguf(sentencePiece(), 'm.gguf')['tokenizer.json']
      const json = JSON.parse(fixture('byte-level'))
      return { ...json, added_tokens: json.added_tokens.slice(0, 1) }
    }
    expect(probe(() => convertedToGguf(convertible()))).toBe('loaded')
    const changes = fc.array(change, { minLength: 1, maxLength: 2 })
    fc.assert(
      fc.property(changes, (list) => {
        const json = list.reduce<unknown>((tree, one) => mutated(tree, one), convertible())
        probe(() => convertedToGguf(json))
      }),
      parameters,
    )
  })

  test('with bytes changed', () => {
    const file = join(folder, 'tokenizer.json')
    const bytes = Buffer.from(fixture('byte-fallback'))
    fc.assert(
      fc.property(damage, (changes) => {
        writeFileSync(file, damaged(bytes, changes))
        probe(() => loadTokenizer(file))
      }),
      parameters,
    )
  })

  test('with strange configurations beside it', () => {
    const keys = [
      'bos_token',
      'eos_token',
      'pad_token',
      'unk_token',
      'add_bos_token',
      'chat_template',
      'added_tokens_decoder',
    ]
    const config = fc.dictionary(
      fc.constantFrom(...keys),
      fc.oneof(strange, fc.constantFrom('<s>', true, { content: '</s>' })),
    )
    const added = fc.dictionary(fc.nat(1000).map(String), fc.record({ content: fc.string() }))
    const json = JSON.parse(fixture('byte-fallback'))
    const at = (file: string, value: unknown) => ({ file, json: value })
    fc.assert(
      fc.property(
        fc.oneof(
          config,
          added.map((added_tokens_decoder) => ({ added_tokens_decoder })),
          strange,
        ),
        config,
        strange,
        (a, b, c) => {
          probe(() =>
            tokenizerFromHuggingFace({
              tokenizer: at('tokenizer.json', json),
              config: at('tokenizer_config.json', a),
              specialTokensMap: at('special_tokens_map.json', b),
              generationConfig: at('generation_config.json', c),
            }),
          )
        },
      ),
      parameters,
    )
  })
})

/** A llama2.c tokenizer: special tokens, bytes and some pieces. */
function tokenizerBin(): Buffer {
  const hex = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
  const tokens = ['<unk>', '\n<s>\n', '\n</s>\n', ...Array.from({ length: 256 }, (_, byte) => hex(byte))]
  tokens.push(' ', 'a', ' a', 'aa', 'aaaa', 'H', 'e', 'He', '你')
  const parts = tokens.map((token, id) => {
    const head = Buffer.alloc(8)
    head.writeFloatLE(-id, 0)
    head.writeInt32LE(Buffer.byteLength(token), 4)
    return Buffer.concat([head, Buffer.from(token)])
  })
  return Buffer.concat([Buffer.of(7, 0, 0, 0), ...parts])
}

test('tokenizer.bin with bytes changed', () => {
  const file = join(folder, 'tokenizer.bin')
  const bytes = tokenizerBin()
  writeFileSync(file, bytes)
  expect(probe(() => loadTokenizer(file))).toBe('loaded')
  fc.assert(
    fc.property(damage, (changes) => {
      writeFileSync(file, damaged(bytes, changes))
      probe(() => loadTokenizer(file))
    }),
    { ...parameters, numRuns: 2 * parameters.numRuns },
  )
})

describe('GGUF metadata', () => {
  const byteLevel = (): Tree => {
    const { vocab, merges } = JSON.parse(fixture('byte-level')).model
    return {
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'llama-bpe',
      'tokenizer.ggml.tokens': Object.keys(vocab).sort((a, b) => vocab[a] - vocab[b]),
      'tokenizer.ggml.token_type': Object.keys(vocab).map((_, id) => (id === 0 ? 3 : 1)),
      'tokenizer.ggml.merges': merges.map((pair: string[]) => pair.join(' ')),
      'tokenizer.ggml.bos_token_id': 0,
      'tokenizer.ggml.add_bos_token': false,
    }
  }
  test.each([
    ['llama', sentencePiece],
    ['gpt2', byteLevel],
  ])('%s, changed', (_, original) => {
    expect(probe(() => tokenizerFromGguf(original(), 'm.gguf'))).toBe('loaded')
    const more = fc.oneof(
      strange,
      fc.constantFrom<unknown>(undefined, 1n, 2n ** 64n, Number.NaN, new Uint8Array(3)),
    )
    const changes = fc.array(fc.tuple(change, more), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(changes, (list) => {
        const metadata = list.reduce<unknown>(
          (tree, [one, value]) => mutated(tree, { ...one, value, steps: one.steps.slice(0, 2) }),
          original(),
        ) as Tree
        probe(() => tokenizerFromGguf(metadata, 'm.gguf'))
        probe(() => convertedToFiles(metadata))
      }),
      { ...parameters, numRuns: 2 * parameters.numRuns },
    )
  })
})
