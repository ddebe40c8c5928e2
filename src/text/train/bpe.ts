/**
 * Trains a byte-level BPE vocabulary: GPT-2's 256 bytes and the merges of their most frequent pairs, within words.
 *
 * Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; bytes: Radford et al. 2019. Merges equal those of Hugging
 * Face's `BpeTrainer`. Every text can be expressed, and is given back exactly.
 *
 * @example
 * const json = trainBpe(stories, { vocabSize: 4096 })
 */
import * as z from 'zod'
import { charOfByte } from '../pipeline/byteLevel.ts'
import { type MergeLimits, mergePairs } from './mergePairs.ts'
import {
  checkRoom,
  checkSpecialTokens,
  checkSpelling,
  type TrainingHooks,
  trainingSchema,
} from './options.ts'
import { symbolWords } from './symbolWords.ts'
import {
  addedTokens,
  inSequence,
  type SectionJson,
  surroundWith,
  type TokenizerJson,
} from './tokenizerJson.ts'
import { type AsyncTexts, overWords, type Texts } from './wordCounts.ts'

export const bpeTrainingSchema = trainingSchema.extend({
  specialTokens: trainingSchema.shape.specialTokens.default(['<|endoftext|>']),
  minFrequency: z.int().positive().default(2).describe('Pairs that occur less often are not merged'),
  maxTokenLength: z.int().min(2).optional().describe('Longest token: bytes in bpe, characters in wordpiece'),
  pattern: z
    .string()
    .min(1)
    .optional()
    .describe("Regular expression (Oniguruma) of the words; GPT-2's by default"),
})
export type BpeTrainingOptions = z.input<typeof bpeTrainingSchema>

/** Throws a RangeError if the vocabulary has no room for the special tokens and 256 bytes. */
export function trainBpe(texts: Texts, options?: BpeTrainingOptions & TrainingHooks): TokenizerJson
export function trainBpe(
  texts: AsyncTexts,
  options?: BpeTrainingOptions & TrainingHooks,
): Promise<TokenizerJson>
export function trainBpe(
  texts: Texts | AsyncTexts,
  { onProgress, ...given }: BpeTrainingOptions & TrainingHooks = {},
): TokenizerJson | Promise<TokenizerJson> {
  const options = bpeTrainingSchema.parse(given)
  const { specialTokens, vocabSize, minFrequency, maxTokenLength, begin, end } = options
  checkSpecialTokens(options)
  // Text that is plain ASCII is spelled as itself, and is cut out where it is a special token.
  const bytes = new Set(charOfByte)
  const allBytes = (token: string) => [...token].every((char) => bytes.has(char))
  checkSpelling(
    specialTokens,
    (token) => allBytes(token) && (token.length === 1 || /[^\x21-\x7e]/.test(token)),
  )
  checkRoom(vocabSize, specialTokens.length + 256, 'special tokens and bytes')
  const preTokenizer = splitting(options)
  const limits: MergeLimits = {
    vocabSize,
    minFrequency,
    maxTokenLength: maxTokenLength ?? Number.POSITIVE_INFINITY,
    join: (left, right) => left + right,
  }
  return overWords(texts, { specialTokens, normalizer: null, preTokenizer }, (counts) => {
    // In the order of their characters, as Hugging Face numbers them.
    const tokens = [...specialTokens, ...[...charOfByte].sort()]
    const ids = new Map(tokens.map((token, id) => [token, id]))
    const words = symbolWords(counts, (word) => Array.from(word, (char) => ids.get(char)!))
    const merges = mergePairs(words, tokens, limits, onProgress && { onProgress })
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(specialTokens),
      normalizer: null,
      pre_tokenizer: preTokenizer,
      post_processor: surroundWith(specialTokens, begin, end) ?? { ...byteLevel(true), trim_offsets: false },
      decoder: byteLevel(true),
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map(([left, right]) => [tokens[left]!, tokens[right]!]),
      },
    }
  })
}

const byteLevel = (regex: boolean): SectionJson => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: regex,
})

function splitting({ digits, pattern }: z.output<typeof bpeTrainingSchema>): SectionJson {
  const steps: SectionJson[] = []
  if (digits) steps.push({ type: 'Digits', individual_digits: true })
  if (pattern !== undefined)
    steps.push({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })
  return inSequence('pretokenizers', [...steps, byteLevel(pattern === undefined)])!
}
