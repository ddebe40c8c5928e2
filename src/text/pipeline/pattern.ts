import { z } from 'zod'
import type { Place } from '../errors.ts'
import { charLength, escapeLiteral } from './chars.ts'
import { translateRegex } from './regex.ts'

/** Reports all matches in a text: ranges of UTF-16 units, in order, not overlapping, perhaps empty. */
export type Pattern = (text: string, onMatch: (from: number, to: number) => void) => void

/** `{ "String": ... }` is searched for as it is, `{ "Regex": ... }` is an Oniguruma regular expression. */
export const patternFields = z.union([
  z.strictObject({ String: z.string() }),
  z.strictObject({ Regex: z.string() }),
])

export function pattern(json: z.output<typeof patternFields>, place: Place): Pattern {
  if ('Regex' in json) return matches(translateRegex(json.Regex, place.at('Regex')))
  if (json.String === '') return () => {}
  return matches(new RegExp([...json.String].map(escapeLiteral).join(''), 'gv'))
}

/** The matches of a global regular expression. An empty match right after another match does not count. */
export function matches(regex: RegExp): Pattern {
  return (text, onMatch) => {
    let end = -1
    regex.lastIndex = 0
    for (let match = regex.exec(text); match !== null; match = regex.exec(text)) {
      const from = match.index
      const to = from + match[0].length
      if (from > 0 && charLength(text, from - 1) === 2) {
        regex.lastIndex = from + 1 // V8 looks for lookbehinds inside of surrogate pairs, too
        continue
      }
      if (from === to) {
        regex.lastIndex = to + charLength(text, to)
        if (to === end) continue
      }
      onMatch(from, to)
      end = to
    }
  }
}
