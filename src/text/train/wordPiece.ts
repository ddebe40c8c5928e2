/**
 * Trains a WordPiece vocabulary, BERT's kind: a word is its longest token, then the longest `##` token of the rest,
 * and so on.
 *
 * Trained as Hugging Face's `WordPieceTrainer` does it: by the merges of BPE, the most frequent pair first, in words
 * whose characters after the first are spelled `##c`. The original (Schuster and Nakajima 2012) merges the pair that
 * raises the likelihood of the corpus most, that is the largest count(ab) / (count(a) count(b)); Google has not
 * published its trainer, and this is not it. Where Hugging Face skips characters outside of the alphabet and joins
 * their neighbours, words that have any are left out here: they are unknown as a whole.
 */
import * as z from 'zod'
import { mergePairs } from './mergePairs.ts'
import {
  checkRoom,
  checkSpecialTokens,
  checkSpelling,
  type TrainingHooks,
  trainingSchema,
} from './options.ts'
import { alphabetOf, symbolWords } from './symbolWords.ts'
import { addedTokens, inSequence, surroundWith, type TokenizerJson } from './tokenizerJson.ts'
import { type AsyncTexts, overWords, type Texts } from './wordCounts.ts'

export const wordPieceTrainingSchema = trainingSchema.extend({
  specialTokens: trainingSchema.shape.specialTokens.default(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']),
  unknown: z.string().min(1).default('[UNK]').describe('Special token for what cannot be expressed'),
  minFrequency: z.int().positive().default(2).describe('Pairs that occur less often are not merged'),
  maxTokenLength: z.int().min(2).optional().describe('Longest token: bytes in bpe, characters in wordpiece'),
  limitAlphabet: z
    .int()
    .positive()
    .default(1000)
    .describe('Most characters of the alphabet; others are unknown'),
  lowercase: z.boolean().default(false).describe('Lower case, without accents'),
})
export type WordPieceTrainingOptions = z.input<typeof wordPieceTrainingSchema>

const continuing = '##'

/** Throws a RangeError if the vocabulary has no room for the special tokens and the alphabet. */
export function trainWordPiece(
  texts: Texts,
  options?: WordPieceTrainingOptions & TrainingHooks,
): TokenizerJson
export function trainWordPiece(
  texts: AsyncTexts,
  options?: WordPieceTrainingOptions & TrainingHooks,
): Promise<TokenizerJson>
export function trainWordPiece(
  texts: Texts | AsyncTexts,
  { onProgress, ...given }: WordPieceTrainingOptions & TrainingHooks = {},
): TokenizerJson | Promise<TokenizerJson> {
  const options = wordPieceTrainingSchema.parse(given)
  const { specialTokens, unknown, vocabSize, minFrequency, limitAlphabet, lowercase } = options
  checkSpecialTokens(options)
  checkSpelling(specialTokens, (token) => token.startsWith(continuing))
  const has = (token: string) => (specialTokens.includes(token) ? token : undefined)
  const begin = options.begin ?? has('[CLS]')
  const end = options.end ?? has('[SEP]')
  const normalizer = {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase,
  }
  const bert = { type: 'BertPreTokenizer' }
  const digits = { type: 'Digits', individual_digits: true }
  const preTokenizer = inSequence('pretokenizers', options.digits ? [bert, digits] : [bert])
  return overWords(texts, { specialTokens, normalizer, preTokenizer }, (counts) => {
    const alphabet = alphabetOf(counts, limitAlphabet)
    const known = new Set(alphabet)
    const words = [...counts].map(([word, count]) => [[...word], count] as const)
    const expressible = words.filter(([chars]) => chars.every((char) => known.has(char)))
    const inside = new Set(expressible.flatMap(([chars]) => chars.slice(1)))
    const tokens = [...specialTokens, ...alphabet]
    tokens.push(...alphabet.filter((char) => inside.has(char)).map((char) => continuing + char))
    checkRoom(vocabSize, tokens.length, 'special tokens and characters')
    const ids = new Map(tokens.map((token, id) => [token, id]))
    const spell = (chars: readonly string[]) =>
      chars.map((char, i) => ids.get(i === 0 ? char : continuing + char)!)
    mergePairs(
      symbolWords(expressible, spell),
      tokens,
      {
        vocabSize,
        minFrequency,
        maxTokenLength: options.maxTokenLength ?? Number.POSITIVE_INFINITY,
        join: (left, right) => left + right.slice(continuing.length),
      },
      onProgress && { onProgress },
    )
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(specialTokens),
      normalizer,
      pre_tokenizer: preTokenizer,
      post_processor: surroundWith(specialTokens, begin, end) ?? null,
      decoder: { type: 'WordPiece', prefix: continuing, cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: unknown,
        continuing_subword_prefix: continuing,
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      },
    }
  })
}
