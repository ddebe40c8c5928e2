/** The tokenizer of a GGUF file as the files of a Hugging Face folder. */
import { quote } from '../errors.ts'
import { type ByteLevelModel, byteLevelSplits, describeGgufTokenizer } from '../load/gguf.ts'
import type { GgufMetadata } from '../load/ggufMetadata.ts'
import {
  mayShareScore,
  requireBytes,
  type SentencePieceModel,
  scoredMerges,
  sentencePieceSections,
} from '../load/sentencePiece.ts'
import type { AddedToken } from '../pipeline/addedTokens.ts'
import type { SpecialIds } from '../pipeline/pipeline.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate } from '../tokenizer.ts'

/** JSON files by name. */
export interface TokenizerFiles {
  readonly 'tokenizer.json': object
  readonly 'tokenizer_config.json': object
}

/**
 * Files that tokenize as a GGUF file's metadata (keys as in the file) say. `file` is for error messages.
 * TokenizerError for what tokenizer.json cannot say.
 */
export function tokenizerFilesFromGguf(
  metadata: Readonly<Record<string, unknown>>,
  file: string,
): TokenizerFiles {
  const tokenizer = describeGgufTokenizer(metadata, file)
  const { vocabulary, special, addedTokens, prefix, suffix } = tokenizer.model
  const sections =
    tokenizer.kind === 'llama' ? sentencePiece(tokenizer.model, tokenizer.meta) : byteLevel(tokenizer.model)
  const nameOf = (id: number | undefined) => (id === undefined ? null : vocabulary.tokens[id]!)
  return {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens.map(addedToken),
      ...sections,
      post_processor: template(prefix, suffix, vocabulary),
    },
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...roles(special, nameOf),
      clean_up_tokenization_spaces: false,
      ...(tokenizer.chatTemplate !== undefined && { chat_template: templateField(tokenizer.chatTemplate) }),
    },
  }
}

/** A template as `chat_template` of tokenizer_config.json: one as it is, several as a list. */
export const templateField = (template: ChatTemplate): unknown =>
  typeof template === 'string'
    ? template
    : Object.entries(template).map(([name, source]) => ({ name, template: source }))

/** null says that there is none; without a key, readers guess. */
const roles = ({ bos, eos, unk, pad }: SpecialIds, nameOf: (id: number | undefined) => string | null) => ({
  bos_token: nameOf(bos),
  eos_token: nameOf(eos),
  unk_token: nameOf(unk),
  pad_token: nameOf(pad),
})

const addedToken = ({ id, content, special }: AddedToken) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special,
})

function template(prefix: readonly number[], suffix: readonly number[], { tokens }: Vocabulary) {
  if (prefix.length + suffix.length === 0) return null
  const special = (id: number) => ({ SpecialToken: { id: tokens[id]!, type_id: 0 } })
  const around = (...texts: object[]) => [...prefix.map(special), ...texts, ...suffix.map(special)]
  const text = (id: string, type_id: number) => ({ Sequence: { id, type_id } })
  const used = [...new Set([...prefix, ...suffix])]
  return {
    type: 'TemplateProcessing',
    single: around(text('A', 0)),
    pair: [...around(text('A', 0)), ...around(text('B', 1))],
    special_tokens: Object.fromEntries(
      used.map((id) => [tokens[id]!, { id: tokens[id]!, ids: [id], tokens: [tokens[id]!] }]),
    ),
  }
}

function byteLevel({ vocabulary, merges, splits, ignoreMerges }: ByteLevelModel) {
  return {
    normalizer: null,
    pre_tokenizer: byteLevelSplits(splits),
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    model: { ...bpe(vocabulary, merges), ignore_merges: ignoreMerges },
  }
}

const bpe = (vocabulary: Vocabulary, merges: readonly string[] | readonly (readonly string[])[]) => ({
  type: 'BPE',
  dropout: null,
  unk_token: null as string | null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  vocab: Object.fromEntries(vocabulary.ids),
  merges,
})

/** Merges in the order of transformers' own converter: by score, then the longest left and right parts first. */
function sentencePiece(model: SentencePieceModel, meta: GgufMetadata) {
  const { vocabulary, special, addSpacePrefix } = model
  requireBytes(vocabulary, meta.place('tokens'))
  const token = (id: number): string => vocabulary.tokens[id] ?? ''
  const ordered = scoredMerges(model).merges.sort(
    (a, b) =>
      a.rank - b.rank ||
      token(b.left).length - token(a.left).length ||
      token(b.right).length - token(a.right).length,
  )
  for (const [i, { left, right, rank, result }] of ordered.entries()) {
    const before = ordered[i - 1]
    if (token(left) === '' || token(right) === '')
      meta
        .place('tokens')
        .at(result)
        .fail(`${quote(token(result))} has a character that is no token: tokenizer.json cannot merge it`)
    const tied = before?.rank === rank && before.result !== result
    if (tied && !mayShareScore([token(before.result), token(result)]))
      meta
        .place('scores')
        .at(result)
        .fail(
          `${quote(token(before.result))} and ${quote(token(result))} have the same score: tokenizer.json cannot say which goes first`,
        )
  }
  const pairs = ordered.map(({ left, right }) => [token(left), token(right)])
  const unk_token = special.unk === undefined ? null : token(special.unk)
  return {
    ...sentencePieceSections(addSpacePrefix),
    model: { ...bpe(vocabulary, pairs), unk_token, fuse_unk: true, byte_fallback: true },
  }
}
