/** The tokenizer of a Hugging Face folder as GGUF metadata. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { Place, quote } from '../errors.ts'
import { readJson } from '../load/files.ts'
import { tokenTypes } from '../load/ggufMetadata.ts'
import { parseConfig } from '../load/special.ts'
import { parse } from '../pipeline/component.ts'
import { loadModel } from '../pipeline/models.ts'
import { byteOfToken, type Vocabulary } from '../pipeline/vocabulary.ts'
import type { Tokenizer } from '../tokenizer.ts'
import { byteLevelToGguf } from './byteLevelToGguf.ts'
import { sentencePieceToGguf } from './sentencePieceToGguf.ts'

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
export type TokenizerJson = z.output<typeof fileFields>

/** What is read of a tokenizer.json, and where its errors are. */
export interface Source {
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
    ...(sentencePiece ? sentencePieceToGguf(source) : byteLevelToGguf(source)),
    'tokenizer.ggml.tokens': ['string[]', ids.map((id) => spelling(id) ?? `[PAD${id}]`)],
    'tokenizer.ggml.token_type': ['i32[]', types],
    ...specialTokens(tokenizer, place),
    ...chatTemplates(tokenizer),
  }
}

/** The template, or each of several by name. */
function chatTemplates({ chatTemplate }: Tokenizer): TokenizerMetadata {
  const key = 'tokenizer.chat_template'
  const named = typeof chatTemplate === 'string' ? { default: chatTemplate } : (chatTemplate ?? {})
  return Object.fromEntries(
    Object.entries(named).map(([name, source]) => [
      name === 'default' ? key : `${key}.${name}`,
      ['string', source] as const,
    ]),
  )
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
