import { readFileSync } from 'node:fs'
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { type TokenizerJson, tokenizerConfig, tokenizerFromHuggingFace, trainUnigram } from '../index.ts'
import { digamma, likelihoodStep, prune, sparseStep } from './estimate.ts'
import { Lattice } from './lattice.ts'
import { type Pieces, seedPieces } from './pieces.ts'
import { alphabetOf, symbolWords } from './symbolWords.ts'
import { trainPieces } from './unigram.ts'

type Scores = Record<string, number>
const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../../test/fixtures/text/${name}.json`, import.meta.url), 'utf8'))
/** By listing all segmentations: test/fixtures/text/unigram.py. */
const reference = fixture('unigramTraining') as {
  words: Scores
  seeds: { seedSize: number; maxPieceLength: number; pieces: Scores }[]
  given: {
    pieces: Scores
    likelihood: number
    expected: Scores
    sparse: Scores
    likely: Scores
    pruned: Record<string, string[]>
  }
  trained: {
    size: number
    seedSize: number
    maxPieceLength: number
    shrinkingFactor: number
    subIterations: number
    pieces: Scores
    likelihood: number
    best: Record<string, string[]>
  }[]
}

const counts = new Map(Object.entries(reference.words))
const alphabet = alphabetOf(counts)
const spell = (text: string) => Array.from(text, (char) => alphabet.indexOf(char))
const words = symbolWords(counts, spell)

function textOf({ symbols, at, lengths }: Pieces, piece: number): string {
  const own = symbols.subarray(at[piece]!, at[piece]! + lengths[piece]!)
  return Array.from(own, (symbol) => alphabet[symbol]!).join('')
}
const scoresOf = (pieces: Pieces, values = pieces.scores): Scores =>
  Object.fromEntries(Array.from(values, (value, piece) => [textOf(pieces, piece), value]))
function piecesOf(scores: Scores): Pieces {
  const { symbols, starts } = symbolWords(Object.entries(scores), spell)
  const at = starts.slice(0, -1)
  return {
    symbols,
    at,
    lengths: at.map((start, i) => starts[i + 1]! - start),
    scores: Float64Array.from(Object.values(scores)),
  }
}
/** Both are float64; sums differ in their order. */
function close(actual: Scores, expected: Scores): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort())
  for (const [piece, value] of Object.entries(expected)) expect(actual[piece], piece).toBeCloseTo(value, 9)
}
const { given } = reference

describe('estimation', () => {
  test.each(reference.seeds)('seeds are those of the reference, $seedSize', ({ pieces, ...limits }) => {
    close(scoresOf(seedPieces(words, limits)), pieces)
  })

  test('marginal likelihood and expected counts are sums over all segmentations', () => {
    const pieces = piecesOf(given.pieces)
    const expected = new Float64Array(pieces.scores.length)
    expect(new Lattice(pieces).expect(words, expected)).toBeCloseTo(given.likelihood, 8)
    close(scoresOf(pieces, expected), given.expected)
  })

  test('steps give the scores of the reference', () => {
    const pieces = piecesOf(given.pieces)
    close(scoresOf(sparseStep(words, pieces).pieces), given.sparse)
    close(scoresOf(likelihoodStep(words, pieces).pieces), given.likely)
  })

  test('pruning keeps what the reference keeps', () => {
    for (const [size, kept] of Object.entries(given.pruned)) {
      const pieces = prune(words, piecesOf(given.pieces), Number(size))
      expect(Object.keys(scoresOf(pieces)).sort()).toEqual([...kept].sort())
    }
  })

  test('the likelihood rises with every step of EM', () => {
    let pieces = seedPieces(words, { seedSize: 1000, maxPieceLength: 16 })
    let before = Number.NEGATIVE_INFINITY
    for (let i = 0; i < 30; i++) {
      const step = likelihoodStep(words, pieces, 0)
      expect(step.likelihood).toBeGreaterThan(before - 1e-9 * Math.abs(step.likelihood))
      if (i < 5) expect(step.likelihood).toBeGreaterThan(before)
      before = step.likelihood
      pieces = step.pieces
    }
  })

  test.each(reference.trained)('a whole training ends with $size pieces as the reference', (entry) => {
    const { size, pieces: expected, likelihood, best, ...options } = entry
    const pieces = trainPieces(words, size, options)
    close(scoresOf(pieces), expected)
    const lattice = new Lattice(pieces)
    expect(lattice.expect(words, new Float64Array(pieces.scores.length))).toBeCloseTo(likelihood, 6)
    for (const [word, parts] of Object.entries(best)) {
      const own = Int32Array.from(spell(word))
      expect(lattice.best(own, 0, own.length).map((piece) => textOf(pieces, piece))).toEqual(parts)
    }
    expect(pieces.scores.reduce((sum, score) => sum + Math.exp(score), 0)).toBeCloseTo(1, 12)
  })

  test('digamma has the values that are known in closed form', () => {
    const gamma = 0.5772156649015329
    const { LN2, PI } = Math
    const known = { 1: -gamma, 2: 1 - gamma, 5: 25 / 12 - gamma, 0.5: -gamma - 2 * LN2 }
    for (const [x, value] of Object.entries(known)) expect(digamma(Number(x))).toBeCloseTo(value, 13)
    expect(digamma(0.25)).toBeCloseTo(-PI / 2 - 3 * LN2 - gamma, 12)
    expect(digamma(1e9)).toBeCloseTo(Math.log(1e9), 8)
  })
})

const texts = (fixture('training') as { texts: string[] }).texts
const vocabulary = (json: TokenizerJson) => json.model.vocab as [string, number][]
const load = (json: TokenizerJson) =>
  tokenizerFromHuggingFace({
    tokenizer: { json, file: 'tokenizer.json' },
    config: { json: tokenizerConfig(json), file: 'tokenizer_config.json' },
  })

describe('a unigram tokenizer', () => {
  const awkward = [
    '',
    ' ',
    '  a',
    'é ü 日本 👩‍👩‍👧 \u0000\u00ad',
    'a\r\n\tb   c\n\n',
    "don't  12345!?",
    'is <0x41> A?',
  ]

  test.each([
    {},
    { digits: true },
    { fallback: 'unknown' as const },
    { pattern: '[^ ]+|.', limitAlphabet: 60 },
    { begin: '<s>', end: '</s>' },
  ])('gives every text back: %j', (options) => {
    const corpus = options.fallback === 'unknown' ? [...texts, ...awkward] : texts
    const json = trainUnigram(corpus, { vocabSize: 800, ...options })
    expect(vocabulary(json).length).toBeLessThanOrEqual(800)
    const tokenizer = load(json)
    const library = new Library(json, tokenizerConfig(json))
    for (const sample of [...awkward, ...texts.slice(0, 20)]) {
      const { ids } = tokenizer.encode(sample)
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(sample)
      expect(ids).not.toContain(tokenizer.unk)
      // The library has no byte fallback for this model: unknown characters are <unk> there.
      const inBytes = ids.some((id) => /^<0x..>$/.test(tokenizer.token(id)))
      if (!inBytes) expect(library.encode(sample).ids).toEqual(ids)
    }
  })

  test('puts a space before a text where it is told to, and takes it away again', () => {
    const tokenizer = load(trainUnigram(texts, { vocabSize: 800, prefixSpace: true }))
    expect(tokenizer.encode('Le chat').tokens).toEqual(tokenizer.encode(' Le chat').tokens)
    expect(tokenizer.decode(tokenizer.encode('Le chat').ids)).toBe('Le chat')
  })

  test('fills the vocabulary, whatever the order of the texts', () => {
    const json = trainUnigram(texts, { vocabSize: 700 })
    expect(vocabulary(json)).toHaveLength(700)
    expect(vocabulary(trainUnigram([...texts].reverse(), { vocabSize: 700 }))).toEqual(vocabulary(json))
  })

  test('keeps every character, and has no token across digits where it is told to', () => {
    const json = trainUnigram(texts, { vocabSize: 800, fallback: 'unknown', digits: true })
    const tokens = new Set(vocabulary(json).map(([token]) => token))
    const chars = new Set(texts.join('').replaceAll('<|endoftext|>', '').replaceAll(' ', '▁'))
    for (const char of chars) expect(tokens.has(char) || '<|>'.includes(char), char).toBe(true)
    expect([...tokens].filter((token) => /\p{N}./u.test(token))).toEqual([])
  })

  test('refuses what it cannot do', () => {
    expect(() => trainUnigram(texts, { vocabSize: 300 })).toThrow(/vocabSize 300 is too small.*limitAlphabet/)
    expect(() => trainUnigram(texts, { shrinkingFactor: 1 })).toThrow()
    for (const token of ['▁the', '<0x41>'])
      expect(() => trainUnigram(texts, { specialTokens: ['<unk>', token] })).toThrow(/is spelled as tokens/)
    expect(() => trainUnigram(texts, { unknown: '[UNK]' })).toThrow(/"\[UNK\]" is not one of specialTokens/)
  })
})
