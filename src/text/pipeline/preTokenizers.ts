import { z } from 'zod'
import type { Place } from '../errors.ts'
import type { Aligned } from './aligned.ts'
import { byteSpeller } from './byteLevel.ts'
import { charLength, punctuationClass, rustWordClass } from './chars.ts'
import { build, buildAll, type ComponentTable, component } from './component.ts'
import { matches, type Pattern, pattern, patternFields } from './pattern.ts'
import { type SplitBehavior, splitBehavior, splitText } from './split.ts'

/** Cuts a text into the pieces that the model tokenizes one by one; it may respell them. None is empty. */
export type PreTokenizer = (text: Aligned) => Aligned[]

const type = z.string()
const bare = z.strictObject({ type })
const regex = (source: string) => matches(new RegExp(source, 'gv'))

const splitAt =
  (find: Pattern, behavior: SplitBehavior, invert = false): PreTokenizer =>
  (text) =>
    splitText(text, find, behavior, invert)

const sequence = (steps: readonly PreTokenizer[]): PreTokenizer =>
  steps.length === 1
    ? steps[0]!
    : (text) => steps.reduce((pieces, step) => pieces.flatMap(step), text.text === '' ? [] : [text])

const whitespace = regex('\\p{White_Space}')
const punctuation = regex(`[${punctuationClass}]`)
const digit = regex('\\p{N}')

/** GPT-2's words: a contraction, letters, digits or other characters with one space before them, or spaces. */
export const gpt2Words =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+"

const byteLevelFields = z.strictObject({
  type,
  add_prefix_space: z.boolean(),
  trim_offsets: z.boolean().optional(),
  use_regex: z.boolean().default(true),
})

function byteLevel(options: z.output<typeof byteLevelFields>): PreTokenizer {
  const spell = byteSpeller()
  const words = options.use_regex ? splitAt(regex(gpt2Words), 'Isolated') : (text: Aligned) => [text]
  return (text) => {
    const prefixed = options.add_prefix_space && !text.text.startsWith(' ') ? text.prepend(' ') : text
    const pieces = words(prefixed)
    for (let i = 0; i < pieces.length; i++) pieces[i] = spell(pieces[i]!)
    return pieces
  }
}

export const metaspaceFields = z.strictObject({
  type,
  replacement: z.string(),
  str_rep: z.string().optional(),
  add_prefix_space: z.boolean().nullish(),
  prepend_scheme: z.enum(['always', 'first', 'never']).optional(),
  split: z.boolean().nullish(),
})

/** `add_prefix_space: false` is the old spelling of `prepend_scheme: "never"`. */
export function metaspaceScheme(
  options: z.output<typeof metaspaceFields>,
  place: Place,
): 'always' | 'first' | 'never' {
  if ([...options.replacement].length !== 1) place.at('replacement').fail('not a single character')
  const scheme = options.prepend_scheme ?? (options.add_prefix_space === false ? 'never' : 'always')
  if (options.add_prefix_space === false && scheme !== 'never') {
    place.at('prepend_scheme').fail(`"${scheme}" contradicts add_prefix_space`)
  }
  return scheme
}

function metaspace(options: z.output<typeof metaspaceFields>, place: Place): PreTokenizer {
  const { replacement } = options
  const scheme = metaspaceScheme(options, place)
  const spaces = pattern({ String: ' ' }, place)
  const marks = pattern({ String: replacement }, place)
  return (text) => {
    let spelled = text.replace(spaces, replacement)
    const prefixed = scheme === 'always' || (scheme === 'first' && text.text !== '' && text.start(0) === 0)
    if (prefixed && !spelled.text.startsWith(replacement)) spelled = spelled.prepend(replacement)
    return options.split === false ? [spelled] : splitText(spelled, marks, 'MergedWithNext')
  }
}

function fixedLength(length: number): PreTokenizer {
  return (text) => {
    const pieces: Aligned[] = []
    for (let from = 0; from < text.text.length; ) {
      let to = from
      for (let n = 0; n < length && to < text.text.length; n++) to += charLength(text.text, to)
      pieces.push(text.slice(from, to))
      from = to
    }
    return pieces
  }
}

const table: ComponentTable<PreTokenizer> = {
  BertPreTokenizer: component(bare, () =>
    sequence([splitAt(whitespace, 'Removed'), splitAt(punctuation, 'Isolated')]),
  ),
  ByteLevel: component(byteLevelFields, byteLevel),
  CharDelimiterSplit: component(z.strictObject({ type, delimiter: z.string().min(1) }), (options, place) =>
    splitAt(pattern({ String: options.delimiter }, place), 'Removed'),
  ),
  Digits: component(z.strictObject({ type, individual_digits: z.boolean() }), (options) =>
    splitAt(digit, options.individual_digits ? 'Isolated' : 'Contiguous'),
  ),
  FixedLength: component(z.strictObject({ type, length: z.int().positive().default(5) }), (options) =>
    fixedLength(options.length),
  ),
  Metaspace: component(metaspaceFields, metaspace),
  Punctuation: component(z.strictObject({ type, behavior: splitBehavior.default('Isolated') }), (options) =>
    splitAt(punctuation, options.behavior),
  ),
  Sequence: component(z.strictObject({ type, pretokenizers: z.array(z.unknown()) }), (options, place) =>
    sequence(buildAll(table, 'pre-tokenizer', options.pretokenizers, place.at('pretokenizers'))),
  ),
  Split: component(
    z.strictObject({ type, pattern: patternFields, behavior: splitBehavior, invert: z.boolean() }),
    (options, place) =>
      splitAt(pattern(options.pattern, place.at('pattern')), options.behavior, options.invert),
  ),
  Whitespace: component(bare, () =>
    splitAt(regex(`[${rustWordClass}]+|[^${rustWordClass}\\p{White_Space}]+`), 'Removed', true),
  ),
  WhitespaceSplit: component(bare, () => splitAt(whitespace, 'Removed')),
}

/** The pre-tokenizer that a tokenizer.json `pre_tokenizer` section describes; null is none. */
export function preTokenizer(json: unknown, place: Place): PreTokenizer {
  if (json === null || json === undefined) return (text) => (text.text === '' ? [] : [text])
  return build(table, 'pre-tokenizer', json, place)
}
