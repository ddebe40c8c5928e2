import { z } from 'zod'
import { type Place, quote } from '../errors.ts'
import { BpeModel, byWords } from './bpe.ts'
import { build, type ComponentTable, component } from './component.ts'
import type { Merge } from './merge.ts'
import { cached, type Model } from './model.ts'
import { UnigramModel } from './unigram.ts'
import { Vocabulary } from './vocabulary.ts'
import { WordPieceModel } from './wordPiece.ts'

/** What a tokenizer.json `model` section gives. */
export interface LoadedModel {
  readonly model: Model
  /** The model's tokens; added tokens come later. */
  readonly vocabulary: Vocabulary
  readonly unk: number | undefined
}

const type = z.string().optional()

const bpeFields = z.strictObject({
  type,
  dropout: z.literal(0).nullish(), // random merges are for training
  unk_token: z.string().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  fuse_unk: z.boolean().nullish(),
  byte_fallback: z.boolean().nullish(),
  ignore_merges: z.boolean().nullish(),
  vocab: z.unknown().optional(),
  merges: z.unknown().optional(),
})

function bpe(options: z.output<typeof bpeFields>, place: Place): LoadedModel {
  const vocabulary = vocabularyOf(options.vocab, place.at('vocab'))
  const continuingPrefix = options.continuing_subword_prefix ?? ''
  const endSuffix = options.end_of_word_suffix ?? ''
  const unk =
    options.unk_token == null ? undefined : vocabulary.require(options.unk_token, place.at('unk_token'))
  const model = new BpeModel(
    {
      vocabulary,
      merges: mergesOf(options.merges, vocabulary, continuingPrefix, place.at('merges')),
      byteFallback: options.byte_fallback ?? false,
      unk,
      fuseUnk: options.fuse_unk ?? false,
      ignoreMerges: options.ignore_merges ?? false,
      continuingPrefix,
      endSuffix,
    },
    place,
  )
  const whole = options.ignore_merges || continuingPrefix !== '' || endSuffix !== ''
  return { model: whole ? cached(model) : byWords(cached(model), '▁', vocabulary), vocabulary, unk }
}

/** `{ token: id }`. */
function vocabularyOf(json: unknown, place: Place): Vocabulary {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    place.fail('expected an object of ids by token')
  const vocabulary = new Vocabulary()
  // In the order of ids, so that the list of tokens grows without holes.
  const entries = Object.entries(json as object).sort(([, a], [, b]) => a - b)
  for (const [token, id] of entries) vocabulary.add(token, id, place)
  return vocabulary
}

/** `["a b", ...]` or `[["a", "b"], ...]`, the most important first. */
export function mergesOf(
  json: unknown,
  vocabulary: Vocabulary,
  continuingPrefix: string,
  place: Place,
): Merge[] {
  if (!Array.isArray(json)) place.fail('expected a list of merges')
  if (json.length > 2 ** 21)
    place.fail(`${json.length} merges are more than the ${2 ** 21} that are supported`)
  const merges: Merge[] = []
  for (const [i, item] of (json as unknown[]).entries()) {
    const here = () => place.at(i)
    if (typeof item === 'string' && item.startsWith('#version')) continue
    const pair: unknown = typeof item === 'string' ? item.split(' ') : item
    if (!isPair(pair)) return here().fail(`not a pair of tokens: ${quote(item)}`)
    const [left, right] = pair
    const result = left + right.slice(continuingPrefix.length)
    const ids = [left, right, result].map(
      (token) => vocabulary.ids.get(token) ?? vocabulary.require(token, here()),
    )
    merges.push({ left: ids[0]!, right: ids[1]!, rank: i, result: ids[2]! })
  }
  return merges
}

const isPair = (value: unknown): value is [string, string] =>
  Array.isArray(value) && value.length === 2 && value.every((token) => typeof token === 'string')

const unigramFields = z.strictObject({
  type,
  unk_id: z.int().nonnegative().nullish(),
  byte_fallback: z.boolean().nullish(),
  vocab: z.unknown().optional(),
})

function unigram(options: z.output<typeof unigramFields>, place: Place): LoadedModel {
  const list = options.vocab
  if (!Array.isArray(list)) return place.at('vocab').fail('expected a list of [token, score]')
  const vocabulary = new Vocabulary()
  const scores = new Float64Array(list.length)
  for (const [id, entry] of (list as unknown[]).entries()) {
    const here = place.at('vocab').at(id)
    if (!Array.isArray(entry) || entry.length !== 2) return here.fail(`not [token, score]: ${quote(entry)}`)
    const [token, score] = entry as unknown[]
    if (typeof token !== 'string' || typeof score !== 'number')
      return here.fail(`not [token, score]: ${quote(entry)}`)
    vocabulary.add(token, id, here)
    scores[id] = score
  }
  const unk = options.unk_id ?? undefined
  if (unk !== undefined && unk >= list.length) place.at('unk_id').fail(`${unk} is not in the vocabulary`)
  const model = new UnigramModel(vocabulary, scores, unk, options.byte_fallback ?? false, place)
  return { model: cached(model), vocabulary, unk }
}

const wordPieceFields = z.strictObject({
  type,
  unk_token: z.string(),
  continuing_subword_prefix: z.string(),
  max_input_chars_per_word: z.int().nonnegative(),
  vocab: z.unknown().optional(),
})

function wordPiece(options: z.output<typeof wordPieceFields>, place: Place): LoadedModel {
  const vocabulary = vocabularyOf(options.vocab, place.at('vocab'))
  const unk = vocabulary.require(options.unk_token, place.at('unk_token'))
  const { continuing_subword_prefix, max_input_chars_per_word } = options
  const model = new WordPieceModel(vocabulary, continuing_subword_prefix, unk, max_input_chars_per_word)
  return { model: cached(model), vocabulary, unk }
}

const wordLevelFields = z.strictObject({ type, unk_token: z.string(), vocab: z.unknown().optional() })

function wordLevel(options: z.output<typeof wordLevelFields>, place: Place): LoadedModel {
  const vocabulary = vocabularyOf(options.vocab, place.at('vocab'))
  const unk = vocabulary.ids.get(options.unk_token)
  const lookUp = (piece: string) =>
    vocabulary.ids.get(piece) ?? unk ?? place.fail(`no token for ${quote(piece)}, and none for unknown words`)
  const model: Model = { tokenize: (piece) => ({ ids: [lookUp(piece)], starts: [0], ends: [piece.length] }) }
  return { model, vocabulary, unk }
}

const table: ComponentTable<LoadedModel> = {
  BPE: component(bpeFields, bpe),
  Unigram: component(unigramFields, unigram),
  WordLevel: component(wordLevelFields, wordLevel),
  WordPiece: component(wordPieceFields, wordPiece),
}

/** The model that a tokenizer.json `model` section describes. Old files leave out its type. */
export function loadModel(json: unknown, place: Place): LoadedModel {
  if (typeof json !== 'object' || json === null) place.fail(`expected a model, found ${quote(json)}`)
  const fields = json as Record<string, unknown>
  return build(
    table,
    'model',
    fields.type === undefined ? { ...fields, type: guessType(fields) } : fields,
    place,
  )
}

function guessType(fields: Record<string, unknown>): string {
  if ('merges' in fields) return 'BPE'
  if (Array.isArray(fields.vocab)) return 'Unigram'
  return 'continuing_subword_prefix' in fields ? 'WordPiece' : 'WordLevel'
}
