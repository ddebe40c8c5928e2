/** The tokenizer of a Hugging Face folder as GGUF metadata. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { Place, quote } from '../errors.ts'
import { readJson } from '../load/files.ts'
import { tokenTypes } from '../load/ggufMetadata.ts'
import { ggufPreTokenizers } from '../load/ggufPre.ts'
import { mayShareScore, scoredMerges, sentencePieceSections } from '../load/sentencePiece.ts'
import { parseConfig } from '../load/special.ts'
import { parse } from '../pipeline/component.ts'
import type { Merge } from '../pipeline/merge.ts'
import { loadModel, mergesOf } from '../pipeline/models.ts'
import { byteOfToken, type Vocabulary } from '../pipeline/vocabulary.ts'
import type { Tokenizer } from '../tokenizer.ts'

/** Metadata values with their types in a GGUF file. */
export type TokenizerMetadata = Record<
  string,
  | readonly ['string', string]
  | readonly ['u32', number]
  | readonly ['bool', boolean]
  | readonly ['string[]', readonly string[]]
  | readonly ['f32[]' | 'i32[]', readonly number[]]
>

const addedFields = z.looseObject({
  id: z.int(),
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
})
type Added = z.output<typeof addedFields>

// What is in the sections was checked when the tokenizer was loaded.
const fileFields = z.looseObject({
  added_tokens: z.array(addedFields).nullish(),
  normalizer: z.unknown(),
  pre_tokenizer: z.unknown(),
  decoder: z.unknown(),
  model: z.looseObject({
    type: z.literal('BPE', { error: 'only BPE vocabularies can be converted to GGUF' }).optional(),
    continuing_subword_prefix: z.literal('', { error: 'GGUF has none' }).nullish(),
    end_of_word_suffix: z.literal('', { error: 'GGUF has none' }).nullish(),
    byte_fallback: z.boolean().nullish(),
    ignore_merges: z.boolean().nullish(),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
})
type TokenizerJson = z.output<typeof fileFields>

/** What is read of a tokenizer.json, and where its errors are. */
interface Source {
  readonly json: TokenizerJson
  readonly place: Place
  readonly vocabulary: Vocabulary
  /** `tokenizer.ggml.token_type` by id. */
  readonly types: readonly number[]
}

/**
 * Metadata for `tokenizer`, which was loaded from the tokenizer.json in `folder`, for a model with an embedding
 * of `rows` rows: those without a token get one that nothing becomes, as llama.cpp's converter does it.
 * TokenizerError for what GGUF cannot say.
 */
export function tokenizerToGguf(tokenizer: Tokenizer, folder: string, rows: number): TokenizerMetadata {
  const file = join(folder, 'tokenizer.json')
  const place = new Place(file)
  const json = parse(fileFields, readJson(file), place)
  const { vocabulary, unk } = loadModel(json.model, place.at('model'))
  const added = addedTokens(json, folder, vocabulary, place)
  if (tokenizer.vocabSize > rows)
    place.fail(`${tokenizer.vocabSize} tokens are more than the ${rows} rows of the embedding`)

  const spelling = (id: number) => vocabulary.tokens[id] ?? added.get(id)?.content
  const sentencePiece = json.model.byte_fallback ?? false
  const typeOf = (id: number): number => {
    if (spelling(id) === undefined) return tokenTypes.unused
    if (sentencePiece && id === unk) return tokenTypes.unknown
    const token = added.get(id)
    if (token) return token.special ? tokenTypes.control : tokenTypes.userDefined
    return sentencePiece && byteOfToken(spelling(id)!) >= 0 ? tokenTypes.byte : tokenTypes.normal
  }
  const ids = Array.from({ length: rows }, (_, id) => id)
  const types = ids.map(typeOf)
  const source: Source = { json, place, vocabulary, types }
  return {
    ...(sentencePiece ? scores(source) : byteLevel(source)),
    'tokenizer.ggml.tokens': ['string[]', ids.map((id) => spelling(id) ?? `[PAD${id}]`)],
    'tokenizer.ggml.token_type': ['i32[]', types],
    ...specialTokens(tokenizer, place),
    ...(tokenizer.chatTemplate !== undefined && {
      'tokenizer.chat_template': ['string', tokenizer.chatTemplate] as const,
    }),
  }
}

/** By id: those of tokenizer.json, and those of tokenizer_config.json, which go before them. */
function addedTokens(
  json: TokenizerJson,
  folder: string,
  vocabulary: Vocabulary,
  place: Place,
): Map<number, Added> {
  const entries = (json.added_tokens ?? []).map(
    (token, i) => [token, place.at('added_tokens').at(i)] as const,
  )
  const file = join(folder, 'tokenizer_config.json')
  const config = parseConfig(existsSync(file) ? { json: readJson(file), file } : undefined)
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {})) {
    const here = new Place(file).at('added_tokens_decoder').at(id)
    entries.push([parse(addedFields, { ...(token as object | null), id: Number(id) }, here), here])
  }
  const added = new Map<number, Added>()
  for (const [token, here] of entries) {
    for (const flag of ['single_word', 'lstrip', 'rstrip'] as const)
      if (token[flag]) here.at(flag).fail(`GGUF cannot say this of ${quote(token.content)}`)
    // Without a normalizer there is no difference.
    if ((token.normalized ?? !token.special) && json.normalizer != null)
      here.at('normalized').fail(`GGUF looks for ${quote(token.content)} in the text as it is`)
    const known = vocabulary.ids.get(token.content)
    if (known !== undefined && known !== token.id)
      here.fail(`${quote(token.content)} has the id ${known}, too`)
    added.set(token.id, token)
  }
  return added
}

function specialTokens(tokenizer: Tokenizer, place: Place): TokenizerMetadata {
  const { bos, eos, unk, pad, addBos } = tokenizer
  const around = tokenizer.encode('').ids
  const addEos = around.length > (addBos ? 1 : 0)
  const expected = [...(addBos ? [bos] : []), ...(addEos ? [eos] : [])]
  if (`${around}` !== `${expected}`)
    place
      .at('post_processor')
      .fail(`puts the tokens ${around} around a text; GGUF knows only the first and the last token of a text`)
  const ids = { bos, eos, unknown: unk, padding: pad }
  const metadata: TokenizerMetadata = {
    'tokenizer.ggml.add_bos_token': ['bool', addBos],
    'tokenizer.ggml.add_eos_token': ['bool', addEos],
  }
  for (const [role, id] of Object.entries(ids))
    if (id !== undefined) metadata[`tokenizer.ggml.${role}_token_id`] = ['u32', id]
  return metadata
}

function byteLevel({ json, place }: Source): TokenizerMetadata {
  if (json.normalizer != null) place.at('normalizer').fail('GGUF has none for byte-level vocabularies')
  parse(decoderFields, json.decoder, place.at('decoder'))
  const splits = splitsOf(json.pre_tokenizer, place.at('pre_tokenizer'))
  const ignoreMerges = json.model.ignore_merges ?? false
  const known = Object.entries(ggufPreTokenizers).find(
    ([, pre]) => isDeepStrictEqual(pre.split, splits) && (pre.ignoreMerges ?? false) === ignoreMerges,
  )
  const [name] =
    known ??
    place
      .at('pre_tokenizer')
      .fail(`GGUF has no name for splitting by ${quote(splits)}${ignoreMerges ? ' with ignore_merges' : ''}`)
  return {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', name],
    'tokenizer.ggml.merges': [
      'string[]',
      json.model.merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' '))),
    ],
  }
}

const decoderFields = z.looseObject(
  { type: z.literal('ByteLevel') },
  { error: 'GGUF knows only ByteLevel here' },
)
const byteLevelFields = z.looseObject({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.literal(false),
  use_regex: z.boolean().default(true),
})
const splitFields = z.looseObject({
  type: z.literal('Split'),
  pattern: z.object({ Regex: z.string() }),
  behavior: z.literal('Isolated'),
  invert: z.literal(false).optional(),
})
const digitFields = z.looseObject({ type: z.literal('Digits'), individual_digits: z.literal(true) })
const stepFields = z.union([byteLevelFields, splitFields, digitFields], {
  error: 'GGUF knows Split by an expression, single Digits, and ByteLevel without a space in front',
})
const sequenceFields = z.looseObject({ type: z.literal('Sequence'), pretokenizers: z.array(stepFields) })

/** The expressions by which a `pre_tokenizer` section splits, one after the other. */
function splitsOf(section: unknown, place: Place): string[] {
  const steps = sequenceFields.safeParse(section).data?.pretokenizers ?? [parse(stepFields, section, place)]
  if (steps.at(-1)?.type !== 'ByteLevel') place.fail('GGUF needs ByteLevel as the last step')
  return steps.flatMap((step) => {
    if (step.type === 'Split') return [step.pattern.Regex]
    if (step.type === 'Digits') return ['\\p{N}']
    return step.use_regex ? ggufPreTokenizers['gpt-2']!.split : []
  })
}

/**
 * SentencePiece has scores where tokenizer.json has a list of merges: the more important a merge, the better the
 * score of what it makes. That is the same only if the list has all ways to make a token, one after the other,
 * as in lists that were made from scores.
 */
function scores({ json, place, vocabulary, types }: Source): TokenizerMetadata {
  const prefixes = [true, false].filter((prefix) => {
    const { normalizer, pre_tokenizer, decoder } = sentencePieceSections(prefix)
    return isDeepStrictEqual(
      [json.normalizer, json.pre_tokenizer ?? null, json.decoder],
      [normalizer, pre_tokenizer, decoder],
    )
  })
  if (prefixes.length === 0)
    place.fail(
      'normalizer, pre_tokenizer and decoder are not those of a SentencePiece vocabulary (Prepend ▁, Replace, ByteFallback, Fuse, Strip), and GGUF has no others',
    )
  const at = place.at('model').at('merges')
  const listed = mergesOf(json.model.merges, vocabulary, '', at)
  const scoreOf = scoresOf(listed, vocabulary, at)
  const mergeable = (id: number) => types[id] === tokenTypes.normal
  // Single characters are where merging begins: their scores say nothing, but no two are to be the same.
  const values = types.map((_, id) => (mergeable(id) ? (scoreOf.get(id) ?? -listed.length - id) : 0))
  const { merges } = scoredMerges({ vocabulary, scores: values, mergeable })
  const implied = new Map(merges.map((merge) => [`${merge.left} ${merge.right}`, merge]))
  const spell = (left: number, right: number) =>
    `${quote(vocabulary.tokens[left])} and ${quote(vocabulary.tokens[right])}`
  for (const [i, { left, right }] of listed.entries())
    if (!implied.delete(`${left} ${right}`)) at.at(i).fail(`GGUF's scores cannot merge ${spell(left, right)}`)
  for (const { left, right } of implied.values())
    at.fail(`by GGUF's scores ${spell(left, right)} would be merged, too; the list does not have them`)
  return {
    'tokenizer.ggml.model': ['string', 'llama'],
    'tokenizer.ggml.pre': ['string', 'default'],
    'tokenizer.ggml.scores': ['f32[]', values],
    'tokenizer.ggml.add_space_prefix': ['bool', prefixes[0]!],
  }
}

/** Scores of what merges make: the better, the earlier. Tokens whose merges are mixed share one, where they may. */
function scoresOf(merges: readonly Merge[], { tokens }: Vocabulary, place: Place): Map<number, number> {
  const lastOf = new Map(merges.map(({ result }, i) => [result, i]))
  const scores = new Map<number, number>()
  let from = 0
  let end = 0
  for (const [i, { result }] of merges.entries()) {
    end = Math.max(end, lastOf.get(result)!)
    scores.set(result, -from)
    if (i < end) continue
    const group = merges.slice(from, i + 1)
    const results = [...new Set(group.map((merge) => tokens[merge.result]!))]
    const length = (merge: Merge | undefined) => tokens[merge?.left ?? -1]?.length ?? 0
    const ordered = group.every((merge, j) => j === 0 || length(merge) <= length(group[j - 1]))
    if (results.length > 1 && !(ordered && mayShareScore(results)))
      place
        .at(from)
        .fail(
          `the merges that make ${quote(results[0])} and ${quote(results[1])} are mixed: GGUF has no such scores`,
        )
    from = i + 1
  }
  return scores
}
