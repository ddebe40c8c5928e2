import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Place } from '../errors.ts'
import { UnigramModel } from './unigram.ts'
import { Vocabulary } from './vocabulary.ts'

const place = new Place('f')

/** The best sum of scores over all segmentations, by trying them all. */
function bestScore(pieces: ReadonlyMap<string, number>, text: string): number {
  if (text === '') return 0
  let best = Number.NEGATIVE_INFINITY
  for (const [piece, score] of pieces) {
    if (text.startsWith(piece)) best = Math.max(best, score + bestScore(pieces, text.slice(piece.length)))
  }
  return best
}

test('finds the segmentation with the best sum of scores', () => {
  const piece = fc.string({ unit: fc.constantFrom('a', 'b', '🙂'), minLength: 2, maxLength: 4 })
  const entry = fc.tuple(piece, fc.integer({ min: -20, max: -1 }))
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '🙂'), minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(
      fc.uniqueArray(entry, { selector: ([key]) => key, maxLength: 12 }),
      text,
      (entries, input) => {
        const pieces = new Map([...entries, ['a', -9], ['b', -8], ['🙂', -7]] as [string, number][])
        const vocabulary = new Vocabulary()
        for (const key of pieces.keys()) vocabulary.add(key, vocabulary.size, place)
        const model = new UnigramModel(
          vocabulary,
          Float64Array.from(pieces.values()),
          undefined,
          false,
          place,
        )
        const { ids, starts, ends } = model.tokenize(input)
        const tokens = ids.map((id) => vocabulary.tokens[id]!)
        expect(tokens.join('')).toBe(input)
        expect(tokens).toEqual(starts.map((start, i) => input.slice(start, ends[i])))
        expect(tokens.reduce((sum, token) => sum + pieces.get(token)!, 0)).toBe(bestScore(pieces, input))
      },
    ),
  )
})
