import { z } from 'zod'
import { Place, quote } from '../errors.ts'
import type { AddedToken } from '../pipeline/addedTokens.ts'
import { parse } from '../pipeline/component.ts'
import { decoder } from '../pipeline/decoders.ts'
import { loadModel } from '../pipeline/models.ts'
import { normalizer } from '../pipeline/normalizers.ts'
import { PipelineTokenizer } from '../pipeline/pipeline.ts'
import { postProcessor } from '../pipeline/postProcessors.ts'
import { preTokenizer } from '../pipeline/preTokenizers.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate, Tokenizer } from '../tokenizer.ts'
import { chatTemplateOf, parseConfig, type Source, specialIds, withBosAndEos } from './special.ts'

/** The files of a Hugging Face tokenizer. All but the first may be missing. */
export interface HuggingFaceFiles {
  /** tokenizer.json */
  readonly tokenizer: Source
  /** tokenizer_config.json */
  readonly config?: Source | undefined
  /** special_tokens_map.json */
  readonly specialTokensMap?: Source | undefined
  /** generation_config.json */
  readonly generationConfig?: Source | undefined
  /** chat_template.jinja or chat_template.json; it goes before the configuration's. */
  readonly chatTemplate?: ChatTemplate | undefined
}

const section = z.unknown().optional()
const fileFields = z.strictObject({
  version: z.literal('1.0').optional(),
  truncation: section, // how to batch, which is the caller's affair
  padding: section,
  added_tokens: z.array(z.unknown()).nullish(),
  normalizer: section,
  pre_tokenizer: section,
  post_processor: section,
  decoder: section,
  model: section,
})

const addedTokenFields = z.object({
  id: z.int().nonnegative(),
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
})

/**
 * A tokenizer from a tokenizer.json and what lies beside it.
 *
 * This is a pipeline of our own, not a wrapper of `@huggingface/tokenizers`: that has no offsets, and it is
 * not exact. Of 81 variations of small tokenizers it refused 7, and with the others gave other ids than the
 * reference implementation for 7 865 of 50 024 encodings; this one gives the same ids and offsets. For example,
 * it takes U+0085 for no space, ignores what `Split` is to do with its matches, replaces SentencePiece's
 * character map by NFKC and gives unknown words no id; `huggingface.test.ts` shows these.
 *
 * Every component has one entry in a table; a type or a field that is not there is an error. Not applied are
 * truncation and padding, which are for batches, and `clean_up_tokenization_spaces`, which would change what
 * was decoded.
 */
export function tokenizerFromHuggingFace(files: HuggingFaceFiles): Tokenizer {
  const place = new Place(files.tokenizer.file)
  const json = parse(fileFields, files.tokenizer.json, place)
  const { model, vocabulary: modelVocabulary, unk } = loadModel(json.model, place.at('model'))
  const vocabulary = modelVocabulary.copy() // the model itself must not use added tokens
  const config = parseConfig(files.config)
  const map = parseConfig(files.specialTokensMap)
  const added = new Map<number, AddedToken>()
  for (const [i, token] of (json.added_tokens ?? []).entries()) {
    addToken(added, vocabulary, token, place.at('added_tokens').at(i))
  }
  for (const [id, token] of Object.entries(config.added_tokens_decoder ?? {})) {
    const entry = { ...(token as object | null), id: Number(id) }
    addToken(added, vocabulary, entry, new Place(files.config!.file).at('added_tokens_decoder').at(id))
  }
  const found = specialIds(
    vocabulary,
    (id) => added.get(id)?.special ?? false,
    config,
    map,
    files.generationConfig,
  )
  const special = { ...found, unk: unk ?? found.unk }
  const processor = postProcessor(json.post_processor, vocabulary, place.at('post_processor'))
  return new PipelineTokenizer({
    vocabulary,
    addedTokens: [...added.values()],
    normalizer: normalizer(json.normalizer, place.at('normalizer')),
    preTokenizer: preTokenizer(json.pre_tokenizer, place.at('pre_tokenizer')),
    model,
    postProcessor: withBosAndEos(processor, special, config, files.config?.file ?? ''),
    decoder: decoder(json.decoder, place.at('decoder')),
    special,
    chatTemplate: files.chatTemplate ?? chatTemplateOf(config),
  })
}

function addToken(added: Map<number, AddedToken>, vocabulary: Vocabulary, json: unknown, place: Place): void {
  const result = addedTokenFields.safeParse(json)
  const token = result.success ? result.data : place.fail(`not an added token: ${quote(json)}`)
  const { id, content, single_word, lstrip, rstrip, special, normalized } = token
  if (vocabulary.ids.get(content) !== id) vocabulary.add(content, id, place)
  added.set(id, {
    id,
    content,
    singleWord: single_word,
    leftStrip: lstrip,
    rightStrip: rstrip,
    normalized: normalized ?? !special,
    special,
  })
}
