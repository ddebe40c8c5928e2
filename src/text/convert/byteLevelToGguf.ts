/** Byte-level BPE as GGUF metadata: llama.cpp knows ways to split a text by name. */
import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { type Place, quote } from '../errors.ts'
import { ggufPreTokenizers } from '../load/ggufPre.ts'
import { parse } from '../pipeline/component.ts'
import type { Source, TokenizerMetadata } from './toGguf.ts'

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

/** Model, name of the splits, and merges. TokenizerError for sections that no name stands for. */
export function byteLevelToGguf({ json, place }: Source): TokenizerMetadata {
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
