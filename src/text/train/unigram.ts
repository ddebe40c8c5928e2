/**
 * Trains a unigram vocabulary: pieces with probabilities, of which a text takes the most likely sequence.
 *
 * Kudo 2018, https://arxiv.org/abs/1804.10959, in the steps of SentencePiece and Hugging Face's `UnigramTrainer`:
 * frequent substrings as seeds; then, in turns, EM over all segmentations of all words, and pruning of the pieces
 * that the likelihood misses least. Other than there, substrings count as often as their words occur, single
 * characters are never pruned, and EM has the last word, so that probabilities sum to one.
 */
import * as z from 'zod'
import { byteOfToken, byteToken } from '../pipeline/vocabulary.ts'
import { likelihoodStep, prune, sparseStep } from './estimate.ts'
import {
  checkRoom,
  checkSpecialTokens,
  checkSpelling,
  type TrainingHooks,
  trainingSchema,
} from './options.ts'
import { type Pieces, seedPieces, selectPieces } from './pieces.ts'
import { alphabetOf, type SymbolWords, symbolWords } from './symbolWords.ts'
import {
  addedTokens,
  inSequence,
  type SectionJson,
  surroundWith,
  type TokenizerJson,
} from './tokenizerJson.ts'
import { type AsyncTexts, overWords, type Texts, type WordCounts } from './wordCounts.ts'

export const unigramTrainingSchema = trainingSchema.extend({
  specialTokens: trainingSchema.shape.specialTokens.default(['<unk>', '<s>', '</s>']),
  unknown: z.string().min(1).default('<unk>').describe('Special token for what cannot be expressed'),
  fallback: z
    .enum(['bytes', 'unknown'])
    .default('bytes')
    .describe('What characters outside of the alphabet become: bytes, in 256 tokens, or the unknown token'),
  prefixSpace: z.boolean().default(false).describe('A text begins with a space, as in SentencePiece'),
  pattern: z
    .string()
    .min(1)
    .default("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
    .describe("Regular expression (Oniguruma) of the words; GPT-2's by default"),
  limitAlphabet: z
    .int()
    .positive()
    .optional()
    .describe('Most characters of the alphabet; others are unknown'),
  maxPieceLength: z.int().min(2).default(16).describe('Longest piece, in characters'),
  seedSize: z.int().positive().default(1_000_000).describe('Pieces to begin with'),
  shrinkingFactor: z
    .number()
    .positive()
    .lt(1)
    .default(0.75)
    .describe('Share of the pieces that pruning keeps'),
  subIterations: z.int().positive().default(2).describe('Steps of EM before each pruning'),
})
export type UnigramTrainingOptions = z.input<typeof unigramTrainingSchema>
type Options = z.output<typeof unigramTrainingSchema>

/** How a space is spelled. */
const space = '▁'
/** Pruning stops at so much more than the vocabulary; the scores decide about the rest. As in SentencePiece. */
const surplus = 1.1

/** Throws a RangeError if the vocabulary has no room for special tokens, bytes and the alphabet. */
export function trainUnigram(texts: Texts, options?: UnigramTrainingOptions & TrainingHooks): TokenizerJson
export function trainUnigram(
  texts: AsyncTexts,
  options?: UnigramTrainingOptions & TrainingHooks,
): Promise<TokenizerJson>
export function trainUnigram(
  texts: Texts | AsyncTexts,
  { onProgress, ...given }: UnigramTrainingOptions & TrainingHooks = {},
): TokenizerJson | Promise<TokenizerJson> {
  const options = unigramTrainingSchema.parse(given)
  const { specialTokens, begin, end, unknown, vocabSize } = options
  const byteFallback = options.fallback === 'bytes'
  checkSpecialTokens(options)
  checkSpelling(
    specialTokens,
    (token) => token.startsWith(space) || (byteFallback && byteOfToken(token) >= 0),
  )
  const preTokenizer = splitting(options)
  return overWords(texts, { specialTokens, normalizer: null, preTokenizer }, (counts) => {
    const bytes = byteFallback ? Array.from({ length: 256 }, (_, byte) => byteToken(byte)) : []
    const alphabet = alphabetOf(counts, options.limitAlphabet)
    const fixed = specialTokens.length + bytes.length
    checkRoom(vocabSize, fixed + alphabet.length, 'special tokens, bytes and characters (see limitAlphabet)')
    const words = wordsOver(counts, alphabet)
    const pieces = trainPieces(words, vocabSize - fixed, options, onProgress && { onProgress })
    const learnt = Array.from(pieces.scores, (score, piece) => {
      const at = pieces.at[piece]!
      const symbols = pieces.symbols.subarray(at, at + pieces.lengths[piece]!)
      return [Array.from(symbols, (symbol) => alphabet[symbol]!).join(''), score] as const
    })
    // A byte token that is spelled out in a text must lose against its characters.
    const lowest = pieces.scores.reduce((least, score) => Math.min(least, score), 0)
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(specialTokens),
      normalizer: null,
      pre_tokenizer: preTokenizer,
      post_processor: surroundWith(specialTokens, begin, end) ?? null,
      decoder: decoding(options),
      model: {
        type: 'Unigram',
        unk_id: specialTokens.indexOf(unknown),
        byte_fallback: byteFallback,
        vocab: [
          ...specialTokens.map((token) => [token, 0]),
          ...bytes.map((token) => [token, token.length * lowest - 1]),
          ...learnt.sort(([a, scoreA], [b, scoreB]) => scoreB - scoreA || (a < b ? -1 : 1)),
        ],
      },
    }
  })
}

const scheme = ({ prefixSpace }: Options) => (prefixSpace ? 'first' : 'never')

function splitting(options: Options): SectionJson {
  const split = { type: 'Split', pattern: { Regex: options.pattern }, behavior: 'Isolated', invert: false }
  const digits = { type: 'Digits', individual_digits: true }
  const metaspace = { type: 'Metaspace', replacement: space, prepend_scheme: scheme(options), split: false }
  return inSequence('pretokenizers', [...(options.digits ? [digits] : []), split, metaspace])!
}

function decoding(options: Options): SectionJson {
  if (options.fallback !== 'bytes')
    return { type: 'Metaspace', replacement: space, prepend_scheme: scheme(options), split: false }
  const steps: SectionJson[] = [
    { type: 'Replace', pattern: { String: space }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ]
  if (options.prefixSpace) steps.push({ type: 'Strip', content: ' ', start: 1, stop: 0 })
  return inSequence('decoders', steps)!
}

/** Words as indices of the alphabet, in the order of their spelling; unknown characters cut a word in parts. */
function wordsOver(counts: WordCounts, alphabet: readonly string[]): SymbolWords {
  const ids = new Map(alphabet.map((char, id) => [char, id]))
  const parts = new Map<string, number>()
  for (const [word, count] of counts) {
    let part = ''
    const finish = (): void => {
      if (part !== '') parts.set(part, (parts.get(part) ?? 0) + count)
      part = ''
    }
    for (const char of word) {
      if (ids.has(char)) part += char
      else finish()
    }
    finish()
  }
  const sorted = [...parts].sort(([a], [b]) => (a < b ? -1 : 1))
  return symbolWords(sorted, (word) => Array.from(word, (char) => ids.get(char)!))
}

/** The best `size` pieces of the words, with their scores; fewer if there are no more. */
export function trainPieces(
  words: SymbolWords,
  size: number,
  options: Pick<Options, 'seedSize' | 'maxPieceLength' | 'subIterations' | 'shrinkingFactor'>,
  { onProgress }: TrainingHooks = {},
): Pieces {
  const { subIterations, shrinkingFactor } = options
  let pieces = seedPieces(words, options)
  const enough = Math.floor(size * surplus)
  // Progress is on the scale on which each pruning is one step.
  const rounds = (count: number) => Math.max(0, Math.log(count / enough) / -Math.log(shrinkingFactor))
  const total = Math.ceil(rounds(pieces.scores.length)) + 1
  for (;;) {
    const done = Math.max(0, Math.floor(total - 1 - rounds(pieces.scores.length)))
    onProgress?.({ step: 'estimating', done, total })
    for (let i = 0; i < subIterations; i++) ({ pieces } = sparseStep(words, pieces))
    const count = pieces.scores.length
    if (count <= enough) break
    pieces = prune(words, pieces, Math.max(enough, Math.floor(count * shrinkingFactor)))
  }
  pieces = mostLikely(pieces, size)
  for (let i = 0; i < subIterations; i++) ({ pieces } = likelihoodStep(words, pieces))
  onProgress?.({ step: 'estimating', done: total, total })
  return pieces
}

/** All single characters, and the most likely of the others. */
function mostLikely(pieces: Pieces, size: number): Pieces {
  const order = Array.from(pieces.scores.keys()).sort(
    (a, b) =>
      Number(pieces.lengths[b] === 1) - Number(pieces.lengths[a] === 1) ||
      pieces.scores[b]! - pieces.scores[a]! ||
      a - b,
  )
  return selectPieces(pieces, order.slice(0, size))
}
