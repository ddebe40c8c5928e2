import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Aligned } from './aligned.ts'
import { type Form, normalizeForm } from './forms.ts'
import { marks as knownMarks } from './unicode.ts'

const ranges = (text: Aligned) =>
  Array.from({ length: text.text.length }, (_, i) => [text.start(i), text.end(i)])

/** Characters of Unicode 9: what came later JavaScript knows, and the library whose ids we give does not. */
const later = new RegExp(`[\\p{M}--${knownMarks}]|[\\u{32ff}\\u{a7f1}-\\u{a7f4}\\u{ab69}]`, 'v')
const character = fc
  .oneof(
    fc.integer({ min: 0, max: 0xffff }),
    fc.integer({ min: 0x1d400, max: 0x1d7ff }),
    fc.integer({ min: 0x2f800, max: 0x2fa1d }),
    fc.integer({ min: 0x1f300, max: 0x1f64f }),
  )
  .map((code) => String.fromCodePoint(code))
  .filter((text) => !later.test(text))

describe.each<Form>(['NFC', 'NFD', 'NFKC', 'NFKD'])('%s', (form) => {
  const marks = fc.string({ unit: fc.constantFrom(...'ae\u0301\u0323\u0302ệ각각ﬁ🙂か\u3099'), maxLength: 20 })
  test('is what JavaScript says, with ranges in order inside of the text', () => {
    fc.assert(
      fc.property(fc.oneof(marks, fc.string({ unit: character })), (text) => {
        const normal = normalizeForm(new Aligned(text), form)
        expect(normal.text).toBe(text.normalize(form))
        let last = 0
        for (const [start, end] of ranges(normal)) {
          expect(start! >= last && end! > start! && end! <= text.length).toBe(true)
          last = start!
        }
      }),
      { numRuns: 500 },
    )
  })
})

// As Hugging Face has them: what is composed has the range of its first part, what is decomposed the whole's.
test.each<[Form, string, string, number[][]]>([
  [
    'NFC',
    'e\u0301x',
    'éx',
    [
      [0, 1],
      [2, 3],
    ],
  ],
  [
    'NFD',
    'éx',
    'e\u0301x',
    [
      [0, 1],
      [0, 1],
      [1, 2],
    ],
  ],
  [
    'NFKC',
    'aﬁ',
    'afi',
    [
      [0, 1],
      [1, 2],
      [1, 2],
    ],
  ],
  [
    'NFD',
    '가',
    '\u1100\u1161',
    [
      [0, 1],
      [0, 1],
    ],
  ],
])('%s of %j', (form, text, expected, offsets) => {
  const normal = normalizeForm(new Aligned(text), form)
  expect(normal.text).toBe(expected)
  expect(ranges(normal)).toEqual(offsets)
})

// In canonical order: reordering is quadratic within String.prototype.normalize itself.
test('takes time in proportion to the text, also for a hundred thousand marks on one letter', () => {
  const start = performance.now()
  normalizeForm(new Aligned(`e${'\u0323'.repeat(50_000)}${'\u0301'.repeat(50_000)}`), 'NFC')
  expect(performance.now() - start).toBeLessThan(5_000)
})
