import { z } from 'zod'
import type { Aligned } from './aligned.ts'
import type { Pattern } from './pattern.ts'

/**
 * What becomes of the matches that a text is split at. For `-` in `a--b`: Removed `a b`, Isolated `a - - b`,
 * Contiguous `a -- b`, MergedWithPrevious `a- - b`, MergedWithNext `a - -b`.
 */
export const splitBehavior = z.enum([
  'Removed',
  'Isolated',
  'Contiguous',
  'MergedWithPrevious',
  'MergedWithNext',
])
export type SplitBehavior = z.output<typeof splitBehavior>

/** Whether two neighbouring parts stay together, by whether each is a match. */
const joins: Readonly<Record<SplitBehavior, (left: boolean, right: boolean) => boolean>> = {
  Removed: () => false,
  Isolated: () => false,
  Contiguous: (left, right) => left === right,
  MergedWithPrevious: (left, right) => !left && right,
  MergedWithNext: (left, right) => left && !right,
}

/** The non-empty pieces of a text, split at what `find` matches or, inverted, at what it does not match. */
export function splitText(text: Aligned, find: Pattern, behavior: SplitBehavior, invert = false): Aligned[] {
  const pieces: Aligned[] = []
  const join = joins[behavior]
  let [from, to] = [0, 0]
  let previous: boolean | undefined
  const finishPiece = () => {
    if (from < to && !(behavior === 'Removed' && previous)) pieces.push(text.slice(from, to))
  }
  const addPart = (start: number, end: number, match: boolean) => {
    if (previous === undefined || !join(previous, match)) {
      finishPiece()
      from = start
    }
    to = end
    previous = match
  }
  let end = 0
  find(text.text, (matchFrom, matchTo) => {
    if (end < matchFrom) addPart(end, matchFrom, invert)
    addPart(matchFrom, matchTo, !invert)
    end = matchTo
  })
  if (end < text.text.length) addPart(end, text.text.length, invert)
  finishPiece()
  return pieces
}
