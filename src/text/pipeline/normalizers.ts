import { z } from 'zod'
import type { Place } from '../errors.ts'
import type { Aligned } from './aligned.ts'
import { byteSpeller } from './byteLevel.ts'
import { isSpace, spaceAfter, spaceBefore } from './chars.ts'
import { build, buildAll, type ComponentTable, component } from './component.ts'
import { type Form, normalizeForm } from './forms.ts'
import { pattern, patternFields } from './pattern.ts'
import { precompiledNormalizer } from './precompiled.ts'
import { invisible, marks, nonspacingMarks } from './unicode.ts'

/** Rewrites a text before it is split, keeping track of where each character came from. */
export type Normalizer = (text: Aligned) => Aligned

const type = z.string()
const form = (name: Form) =>
  component(z.strictObject({ type }), (): Normalizer => (text) => normalizeForm(text, name))

/** Character by character, as Rust does: JavaScript would lowercase a final Σ to ς, by context. */
const lowercase: Normalizer = (text) => text.mapChars((char) => char.toLowerCase())

const bertFields = z.strictObject({
  type,
  clean_text: z.boolean(),
  handle_chinese_chars: z.boolean(),
  strip_accents: z.boolean().nullish(),
  lowercase: z.boolean(),
})

/** Tab, line feed and carriage return are control characters that become spaces; the others go away. */
const control = new RegExp(invisible, 'v')
const nonspacing = new RegExp(nonspacingMarks, 'v')
const accent = new RegExp(marks, 'v')
const chinese =
  /[\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{F900}-\u{FAFF}\u{2F800}-\u{2FA1F}]/u

function bertNormalizer(options: z.output<typeof bertFields>): Normalizer {
  const steps: Normalizer[] = []
  if (options.clean_text) {
    steps.push((text) => text.mapChars((c) => (control.test(c) ? '' : isSpace(c.charCodeAt(0)) ? ' ' : c)))
  }
  if (options.handle_chinese_chars)
    steps.push((text) => text.mapChars((c) => (chinese.test(c) ? ` ${c} ` : c)))
  if (options.strip_accents ?? options.lowercase) {
    steps.push((text) => normalizeForm(text, 'NFD').mapChars((c) => (nonspacing.test(c) ? '' : c)))
  }
  if (options.lowercase) steps.push(lowercase)
  return sequence(steps)
}

/** Control characters that SentencePiece's `nmt` rules drop. */
const nmtRemoves = (c: number) =>
  (c >= 0x01 && c <= 0x08) || c === 0x0b || (c >= 0x0e && c <= 0x1f) || c === 0x7f || c === 0x8f || c === 0x9f
const nmtSpaces = /[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/

const sequence =
  (steps: readonly Normalizer[]): Normalizer =>
  (text) =>
    steps.reduce((current, step) => step(current), text)

const table: ComponentTable<Normalizer> = {
  BertNormalizer: component(bertFields, bertNormalizer),
  ByteLevel: component(z.strictObject({ type }), byteSpeller),
  Lowercase: component(z.strictObject({ type }), () => lowercase),
  NFC: form('NFC'),
  NFD: form('NFD'),
  NFKC: form('NFKC'),
  NFKD: form('NFKD'),
  Nmt: component(
    z.strictObject({ type }),
    () => (text) => text.mapChars((c) => (nmtRemoves(c.charCodeAt(0)) ? '' : nmtSpaces.test(c) ? ' ' : c)),
  ),
  Precompiled: component(z.strictObject({ type, precompiled_charsmap: z.string() }), (options, place) =>
    precompiledNormalizer(options.precompiled_charsmap, place.at('precompiled_charsmap')),
  ),
  Prepend: component(
    z.strictObject({ type, prepend: z.string() }),
    (options) => (text) => text.prepend(options.prepend),
  ),
  Replace: component(
    z.strictObject({ type, pattern: patternFields, content: z.string() }),
    (options, place): Normalizer => {
      const find = pattern(options.pattern, place.at('pattern'))
      return (text) => text.replace(find, options.content)
    },
  ),
  Sequence: component(z.strictObject({ type, normalizers: z.array(z.unknown()) }), (options, place) =>
    sequence(buildAll(table, 'normalizer', options.normalizers, place.at('normalizers'))),
  ),
  Strip: component(
    z.strictObject({ type, strip_left: z.boolean(), strip_right: z.boolean() }),
    (options): Normalizer =>
      (text) => {
        const from = options.strip_left ? spaceAfter(text.text, 0) : 0
        const to = options.strip_right ? spaceBefore(text.text, text.text.length) : text.text.length
        return text.slice(from, Math.max(from, to))
      },
  ),
  StripAccents: component(
    z.strictObject({ type }),
    () => (text) => text.mapChars((c) => (accent.test(c) ? '' : c)),
  ),
}

/** The normalizer that a tokenizer.json `normalizer` section describes; null is none. */
export function normalizer(json: unknown, place: Place): Normalizer {
  return json === null || json === undefined ? (text) => text : build(table, 'normalizer', json, place)
}
