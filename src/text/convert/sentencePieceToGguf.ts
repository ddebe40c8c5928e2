/** SentencePiece BPE as GGUF metadata: scores instead of a list of merges. */
import { isDeepStrictEqual } from 'node:util'
import { type Place, quote } from '../errors.ts'
import { tokenTypes } from '../load/ggufMetadata.ts'
import { mayShareScore, requireBytes, scoredMerges, sentencePieceSections } from '../load/sentencePiece.ts'
import type { Merge } from '../pipeline/merge.ts'
import { mergesOf } from '../pipeline/models.ts'
import type { Vocabulary } from '../pipeline/vocabulary.ts'
import type { Source, TokenizerMetadata } from './toGguf.ts'

/**
 * SentencePiece has scores where tokenizer.json has a list of merges: the more important a merge, the better the
 * score of what it makes. That is the same only if the list has all ways to make a token, one after the other,
 * as in lists that were made from scores.
 */
export function sentencePieceToGguf({ json, place, vocabulary, types }: Source): TokenizerMetadata {
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
  if (json.model.ignore_merges) place.at('model').at('ignore_merges').fail('GGUF always merges by score')
  requireBytes(vocabulary, place.at('model').at('vocab'))
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
