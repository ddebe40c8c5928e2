import { quote } from '../errors.ts'
import type { AddedToken } from '../pipeline/addedTokens.ts'
import { BpeModel } from '../pipeline/bpe.ts'
import { decoder } from '../pipeline/decoders.ts'
import { cached } from '../pipeline/model.ts'
import { mergesOf } from '../pipeline/models.ts'
import { PipelineTokenizer, type SpecialIds } from '../pipeline/pipeline.ts'
import { preTokenizer } from '../pipeline/preTokenizers.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate, Tokenizer } from '../tokenizer.ts'
import {
  chatTemplate,
  GgufMetadata,
  readVocabulary,
  specialIds,
  surroundings,
  tokenTypes,
} from './ggufMetadata.ts'
import { type GgufPreTokenizer, ggufPreTokenizers } from './ggufPre.ts'
import { type SentencePieceModel, sentencePieceTokenizer } from './sentencePiece.ts'

/** Byte-level BPE as GGUF has it. */
export interface ByteLevelModel {
  readonly vocabulary: Vocabulary
  /** Pairs of tokens with a space between, the most important first. */
  readonly merges: readonly string[]
  readonly splits: GgufPreTokenizer['split']
  readonly ignoreMerges: boolean
  readonly addedTokens: readonly AddedToken[]
  readonly special: SpecialIds
  readonly prefix: readonly number[]
  readonly suffix: readonly number[]
}

/** What a file's metadata say. */
export type GgufTokenizer = {
  readonly meta: GgufMetadata
  readonly chatTemplate: ChatTemplate | undefined
} & (
  | { readonly kind: 'llama'; readonly model: SentencePieceModel }
  | { readonly kind: 'gpt2'; readonly model: ByteLevelModel }
)

/**
 * The tokenizer in a GGUF file's metadata: keys as in the file, arrays as JavaScript arrays. `file` is for
 * error messages. Two kinds are known: `llama` (SentencePiece BPE, merged by score) and `gpt2` (byte-level
 * BPE, split as `tokenizer.ggml.pre` says). What a file does not say is as llama.cpp has it.
 */
export function tokenizerFromGguf(metadata: Readonly<Record<string, unknown>>, file: string): Tokenizer {
  const tokenizer = describeGgufTokenizer(metadata, file)
  return tokenizer.kind === 'llama'
    ? sentencePieceTokenizer(tokenizer.model, tokenizer.meta.place('tokens'))
    : byteLevelTokenizer(tokenizer.model, tokenizer)
}

/** The same, checked but not yet built. */
export function describeGgufTokenizer(
  metadata: Readonly<Record<string, unknown>>,
  file: string,
): GgufTokenizer {
  const meta = new GgufMetadata(metadata, file)
  const kind = meta.string('model') ?? meta.place('model').fail('the file has no tokenizer')
  const template = chatTemplate(metadata, file)
  if (kind === 'llama') return { kind, meta, chatTemplate: template, model: sentencePiece(meta, template) }
  if (kind === 'gpt2') return { kind, meta, chatTemplate: template, model: byteLevel(meta) }
  return meta.place('model').fail(`unknown tokenizer ${quote(kind)}; known: llama, gpt2`)
}

function sentencePiece(meta: GgufMetadata, template: ChatTemplate | undefined): SentencePieceModel {
  const { vocabulary, typeOf, addedTokens } = readVocabulary(meta)
  const special = specialIds(meta, vocabulary, { bos: 1, eos: 2, unk: 0 })
  const scores = meta.list('scores', 'number', vocabulary.size) ?? meta.place('scores').fail('is missing')
  if (meta.flag('remove_extra_whitespaces')) meta.place('remove_extra_whitespaces').fail('is not supported')
  const mergeable = (id: number) => typeOf(id) === tokenTypes.normal || typeOf(id) === tokenTypes.unused
  return {
    vocabulary,
    scores,
    mergeable,
    addedTokens,
    special,
    ...surroundings(meta, special, true),
    addSpacePrefix: meta.flag('add_space_prefix') ?? true,
    chatTemplate: template,
  }
}

function byteLevel(meta: GgufMetadata): ByteLevelModel {
  const pre = meta.string('pre') ?? 'default'
  const known = Object.hasOwn(ggufPreTokenizers, pre) ? ggufPreTokenizers[pre] : undefined
  const {
    split: splits,
    ignoreMerges = false,
    addBos = false,
  } = known ??
  meta
    .place('pre')
    .fail(`unknown pre-tokenizer ${quote(pre)}; known: ${Object.keys(ggufPreTokenizers).join(', ')}`)
  if (meta.flag('add_space_prefix')) meta.place('add_space_prefix').fail('is not supported for gpt2')
  const { vocabulary, addedTokens } = readVocabulary(meta)
  const special = specialIds(meta, vocabulary, {})
  const merges = meta.list('merges', 'string') ?? meta.place('merges').fail('is missing')
  const around = surroundings(meta, special, addBos)
  return { vocabulary, merges, splits, ignoreMerges, addedTokens, special, ...around }
}

function byteLevelTokenizer(options: ByteLevelModel, { meta, chatTemplate }: GgufTokenizer): Tokenizer {
  const { vocabulary, ignoreMerges, addedTokens, special, prefix, suffix } = options
  const merges = mergesOf(options.merges, vocabulary, '', meta.place('merges'))
  const model = new BpeModel({ vocabulary, merges, ignoreMerges, unk: special.unk }, meta.place('tokens'))
  return new PipelineTokenizer({
    vocabulary,
    addedTokens,
    normalizer: (text) => text,
    preTokenizer: preTokenizer(byteLevelSplits(options.splits), meta.place('pre')),
    model: cached(model),
    postProcessor: { prefix, suffix },
    decoder: decoder({ type: 'ByteLevel' }, meta.place('model')),
    special,
    chatTemplate,
  })
}

/** The `pre_tokenizer` section of tokenizer.json for these expressions. */
export const byteLevelSplits = (splits: readonly string[]) => ({
  type: 'Sequence',
  pretokenizers: [
    ...splits.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
    { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
  ],
})
