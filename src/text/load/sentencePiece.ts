import type { Place } from '../errors.ts'
import type { AddedToken } from '../pipeline/addedTokens.ts'
import { BpeModel, byWords } from '../pipeline/bpe.ts'
import { decoder } from '../pipeline/decoders.ts'
import type { Merge } from '../pipeline/merge.ts'
import { cached } from '../pipeline/model.ts'
import { normalizer } from '../pipeline/normalizers.ts'
import { PipelineTokenizer, type SpecialIds } from '../pipeline/pipeline.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { ChatTemplate, Tokenizer } from '../tokenizer.ts'

/** A SentencePiece BPE model, as GGUF and llama2.c files carry it: no list of merges, but a score a token. */
export interface SentencePieceModel {
  readonly vocabulary: Vocabulary
  /** By id. The better the score, the sooner a pair becomes that token. */
  readonly scores: ArrayLike<number>
  /** Tokens that pairs can become: not bytes, not control tokens. */
  readonly mergeable: (id: number) => boolean
  readonly addedTokens: readonly AddedToken[]
  readonly special: SpecialIds
  readonly prefix: readonly number[]
  readonly suffix: readonly number[]
  /** Begin every text, and every text after a special token, with a space. */
  readonly addSpacePrefix: boolean
  readonly chatTemplate: ChatTemplate | undefined
}

/** The tokenizer of a SentencePiece BPE model. `place` is what errors about unknown characters refer to. */
export function sentencePieceTokenizer(options: SentencePieceModel, place: Place): Tokenizer {
  const { vocabulary, special, addSpacePrefix } = options
  const { merges, bareCharacters } = scoredMerges(options)
  const model = new BpeModel(
    { vocabulary, merges, bareCharacters, byteFallback: true, unk: special.unk, fuseUnk: true },
    place,
  )
  const sections = sentencePieceSections(addSpacePrefix)
  return new PipelineTokenizer({
    vocabulary,
    addedTokens: options.addedTokens,
    normalizer: normalizer(sections.normalizer, place),
    preTokenizer: (text) => [text],
    model: byWords(cached(model), '▁', vocabulary),
    postProcessor: { prefix: options.prefix, suffix: options.suffix },
    decoder: decoder(sections.decoder, place),
    special,
    chatTemplate: options.chatTemplate,
  })
}

/** Fails without the 256 tokens of single bytes: then GGUF and tokenizer.json count unknown characters differently. */
export function requireBytes(vocabulary: Vocabulary, place: Place): void {
  if (vocabulary.byteTokens().includes(-1))
    place.fail('not every byte has a token, <0x00> to <0xFF>: unknown characters would come out differently')
}

/**
 * Whether tokens may share a score in tokenizer.json, which ranks merges one by one and not by place: if they are
 * runs of one character, as Llama 2's longer runs of spaces are. When their turn comes, merges of better scores
 * have left runs that get shorter from left to right, so that the leftmost merge is the one with the longest left
 * part. A list that puts those first, as transformers' converter does, comes to the same.
 */
export const mayShareScore = (tokens: readonly string[]): boolean =>
  new Set(tokens.flatMap((token) => [...token])).size === 1

/** The sections of tokenizer.json, but for the model, that do what SentencePiece does. */
export const sentencePieceSections = (addSpacePrefix: boolean) => ({
  normalizer: {
    type: 'Sequence',
    normalizers: [
      ...(addSpacePrefix ? [{ type: 'Prepend', prepend: '▁' }] : []),
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: addSpacePrefix ? 1 : 0, stop: 0 },
    ],
  },
})

/**
 * The merges that scores imply: any two symbols may merge if that makes a token, and its score's rank is the
 * merge's. Symbols are tokens, and characters of tokens that are none themselves.
 */
export function scoredMerges({
  vocabulary,
  scores,
  mergeable,
}: Pick<SentencePieceModel, 'vocabulary' | 'scores' | 'mergeable'>) {
  const tokens = [...vocabulary.ids].filter(([, id]) => mergeable(id))
  const bareCharacters = new Map<string, number>()
  const symbol = (text: string): number | undefined => {
    const id = vocabulary.ids.get(text)
    return id !== undefined && mergeable(id) ? id : bareCharacters.get(text)
  }
  for (const [token] of tokens) {
    for (const char of token) {
      if (symbol(char) === undefined) bareCharacters.set(char, vocabulary.size + bareCharacters.size)
    }
  }
  const best = [...new Set(tokens.map(([, id]) => scores[id]!))].sort((a, b) => b - a)
  const rankOf = new Map(best.map((score, rank) => [score, rank]))
  const merges: Merge[] = []
  for (const [token, id] of tokens) {
    const rank = rankOf.get(scores[id]!)!
    let at = 0
    for (const char of token) {
      at += char.length
      if (at === token.length) break
      const left = symbol(token.slice(0, at))
      const right = symbol(token.slice(at))
      if (left !== undefined && right !== undefined) merges.push({ left, right, rank, result: id })
    }
  }
  return { merges, bareCharacters }
}
