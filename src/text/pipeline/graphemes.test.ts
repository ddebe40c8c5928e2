import fc from 'fast-check'
import { expect, test } from 'vitest'
import { graphemes } from './graphemes.ts'

const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' })

/** Clusters of several characters that are short enough to be looked up: fewer than six bytes. */
const short = (clusters: string[]) => clusters.filter((c) => [...c].length > 1 && Buffer.byteLength(c) < 6)

function clusters(text: string): string[] {
  const found: string[] = []
  graphemes(text, (from, to) => found.push(text.slice(from, to)))
  return found
}

/** Characters that join with their neighbours, or almost. */
const joining = [...'a\u0301\u0323e\r\n\u0600\u200d\u200cกำ각각क\u094d🏽☺️©®🇩🇪\u{e0041}日 \u0903\u0d4e']

test('are whole, in order, and right where it counts', () => {
  const text = fc.oneof(
    fc.string({ unit: fc.constantFrom(...joining), maxLength: 30 }),
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: 'binary' }),
  )
  fc.assert(
    fc.property(text, (input) => {
      const found = clusters(input)
      expect(found.join('')).toBe(input)
      expect(short(found)).toEqual(short(Array.from(segmenter.segment(input), ({ segment }) => segment)))
    }),
    { numRuns: 3000, seed: 1 },
  )
})

test('take time in proportion to the text', () => {
  const start = performance.now()
  expect(clusters('plain text\r\n'.repeat(20_000)).length).toBe(220_000)
  expect(clusters('e\u0301'.repeat(20_000)).length).toBe(20_000)
  expect(performance.now() - start).toBeLessThan(5_000)
})
