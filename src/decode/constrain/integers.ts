/** Whole numbers in a range, digit by digit. */
import { chars, choice, type Expression, repeat, sequence, text } from './grammar.ts'

/** Digits beyond this are not held exactly by a double; where there is no bound, this is one. */
const largest = 999_999_999_999_999

/** The decimal spellings of `min` to `max`; an infinite bound is that of exact doubles. */
export function integerBetween(min: number, max: number): Expression {
  const low = Math.max(min, Math.min(-largest, max))
  const high = Math.min(max, Math.max(largest, min))
  const options: Expression[] = []
  if (low < 0) options.push(sequence(text('-'), naturalBetween(Math.max(1, -high), -low)))
  if (high >= 0) options.push(naturalBetween(Math.max(0, low), high))
  return choice(...options)
}

/** One option for each number of digits. */
function naturalBetween(low: number, high: number): Expression {
  const options: Expression[] = []
  for (let size = `${low}`.length; size <= `${high}`.length; size++) {
    const from = Math.max(low, size === 1 ? 0 : 10 ** (size - 1))
    options.push(sameSize(`${from}`, `${Math.min(high, 10 ** size - 1)}`))
  }
  return choice(...options)
}

/** From `low` to `high`, which have the same number of digits; leading zeros count. */
function sameSize(low: string, high: string): Expression {
  if (/^0*$/.test(low) && /^9*$/.test(high)) return repeat(digits('0', '9'), low.length, low.length)
  const [a, b] = [low[0]!, high[0]!]
  const [lowRest, highRest] = [low.slice(1), high.slice(1)]
  if (a === b) return sequence(text(a), sameSize(lowRest, highRest))
  const free = repeat(digits('0', '9'), lowRest.length, lowRest.length)
  const between =
    Number(b) - Number(a) > 1 ? [sequence(digits(`${Number(a) + 1}`, `${Number(b) - 1}`), free)] : []
  return choice(
    sequence(text(a), sameSize(lowRest, '9'.repeat(lowRest.length))),
    ...between,
    sequence(text(b), sameSize('0'.repeat(highRest.length), highRest)),
  )
}

const digits = (first: string, last: string): Expression => chars([first.charCodeAt(0), last.charCodeAt(0)])
