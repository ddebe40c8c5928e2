/** The grammar of JSON values: pieces that schemas are made of. */
import {
  charsBut,
  choice,
  type Expression,
  oneOf,
  optional,
  refer,
  repeat,
  sequence,
  text,
} from './grammar.ts'

const digit = oneOf('0123456789')
const hexDigit = oneOf('0123456789abcdefABCDEF')

/** Space between values. Limited, or a model in doubt would write nothing else. */
export const space = optional(
  choice(text(' '), sequence(text('\n'), choice(repeat(text(' '), 0, 20), repeat(text('\t'), 0, 20)))),
)

/** A character that stands for itself between quotes. */
export const plainChar = charsBut([0, 0x1f], [0x22, 0x22], [0x5c, 0x5c], [0xd800, 0xdfff])

/** One character of a string. Escaped surrogates are left out: they would be half a character. */
const stringChar = choice(
  plainChar,
  sequence(text('\\'), oneOf('"\\/bfnrt')),
  sequence(
    text('\\u'),
    choice(sequence(oneOf('0123456789abcefABCEF'), hexDigit), sequence(oneOf('dD'), oneOf('01234567'))),
    hexDigit,
    hexDigit,
  ),
)

export const stringOf = (min: number, max: number): Expression =>
  sequence(text('"'), repeat(stringChar, min, max), text('"'))

/** Digits are limited to what a double holds exactly. */
export const integer = sequence(
  optional(text('-')),
  choice(text('0'), sequence(oneOf('123456789'), repeat(digit, 0, 14))),
)
export const number = sequence(
  integer,
  optional(sequence(text('.'), repeat(digit, 1, 15))),
  optional(sequence(oneOf('eE'), optional(oneOf('+-')), repeat(digit, 1, 2))),
)
export const literal = (value: unknown): Expression => text(JSON.stringify(value))

/** Rules of any value. */
export const anyValue = refer('any')
export const anyRules: readonly (readonly [string, Expression])[] = [
  [
    'any',
    choice(
      ...['null', 'true', 'false'].map(text),
      number,
      refer('any-string'),
      refer('any-array'),
      refer('any-object'),
    ),
  ],
  ['any-string', stringOf(0, Number.POSITIVE_INFINITY)],
  ['any-array', arrayOf([], anyValue, 0, Number.POSITIVE_INFINITY)],
  ['any-object', bracketed('{', '}', commaList(pair(refer('any-string'), anyValue), 0))],
]

export function pair(key: Expression, value: Expression): Expression {
  return sequence(key, text(':'), space, value)
}

export function bracketed(open: string, close: string, inside: Expression): Expression {
  return sequence(text(open), space, inside, space, text(close))
}

export function comma(item: Expression): Expression {
  return sequence(text(','), space, item)
}

/** Items with commas between them. */
export function commaList(item: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression {
  if (max === 0) return sequence()
  const some = sequence(item, repeat(comma(item), Math.max(0, min - 1), max - 1))
  return min === 0 ? optional(some) : some
}

/** An array: `first` are the schemas of its first items, `rest` that of all others. */
export function arrayOf(
  first: readonly Expression[],
  rest: Expression,
  min: number,
  max: number,
): Expression {
  if (first.length === 0) return bracketed('[', ']', commaList(rest, min, max))
  let tail = repeat(comma(rest), Math.max(0, min - first.length), Math.max(0, max - first.length))
  for (let i = Math.min(first.length, max) - 1; i > 0; i--) {
    const next = sequence(comma(first[i]!), tail)
    tail = i < min ? next : optional(next)
  }
  const all = max === 0 ? sequence() : sequence(first[0]!, tail)
  return bracketed('[', ']', min > 0 ? all : optional(all))
}
