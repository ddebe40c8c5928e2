/**
 * Regular expressions of JSON schemas (`pattern`), with the meaning of JavaScript's `u` flag: literals, classes,
 * `.`, groups, `|`, `* + ? {m,n}` and, at the ends, `^` and `$`. A pattern without them may match anywhere.
 */
import {
  chars,
  choice,
  complement,
  type Expression,
  lastCodePoint,
  type Range,
  repeat,
  sequence,
  text,
} from './grammar.ts'
import { Reader } from './reader.ts'

/** The JSON strings whose value matches a pattern. */
export function stringLike(pattern: string): Expression {
  const reader = new Reader(pattern, `pattern ${JSON.stringify(pattern)}`)
  const options: Expression[] = []
  do options.push(anchored(reader))
  while (reader.take(/\|/y))
  if (!reader.done)
    reader.fail(reader.take(/[\^$]/y) ? '^ and $ are supported only at the ends' : 'not expected here')
  return sequence(text('"'), choice(...options), text('"'))
}

const anything = repeat(encoded([[0, lastCodePoint]]), 0)

function anchored(reader: Reader): Expression {
  const before = reader.take(/\^/y) ? sequence() : anything
  const inside = concatenation(reader)
  return sequence(before, inside, reader.take(/\$/y) ? sequence() : anything)
}

function concatenation(reader: Reader): Expression {
  const parts: Expression[] = []
  for (;;) {
    const item = atom(reader)
    if (!item) return sequence(...parts)
    parts.push(quantified(reader, item))
  }
}

function atom(reader: Reader): Expression | undefined {
  if (reader.take(/\(/y)) {
    if (reader.take(/\?(?!:)/y)) reader.fail('only (?: ) groups are supported')
    reader.take(/\?:/y)
    const options = [concatenation(reader)]
    while (reader.take(/\|/y)) options.push(concatenation(reader))
    if (reader.take(/[\^$]/y)) reader.fail('^ and $ are supported only at the ends')
    if (!reader.take(/\)/y)) reader.fail('expected )')
    return choice(...options)
  }
  if (reader.take(/\./y)) return encoded(complement(lineEnds))
  if (reader.take(/\[/y)) return encoded(characterClass(reader))
  if (reader.take(/[*+?{]/y)) reader.fail('there is nothing to repeat')
  const ranges = escaped(reader) ?? plain(reader, /[^^$|()[\]{}*+?.\\]/uy)
  return ranges && encoded(ranges)
}

function quantified(reader: Reader, item: Expression): Expression {
  const found = reader.take(/[*+?]|\{\d+(?:,\d*)?\}/y)
  if (!found) return item
  // Lazy repetitions match the same texts.
  reader.take(/\?/y)
  if (found === '*') return repeat(item, 0)
  if (found === '+') return repeat(item, 1)
  if (found === '?') return repeat(item, 0, 1)
  const [min, max = min] = found.slice(1, -1).split(',') as [string, string?]
  if (max !== '' && Number(max) < Number(min)) reader.fail(`${found}: the second number is the smaller one`)
  return repeat(item, Number(min), max === '' ? Number.POSITIVE_INFINITY : Number(max))
}

function characterClass(reader: Reader): Range[] {
  const not = reader.take(/\^/y) !== undefined
  const ranges: Range[] = []
  const member = (): Range[] =>
    escaped(reader) ?? plain(reader, /[^\]\\]/uy) ?? reader.fail('expected ] at the end of the class')
  while (!reader.take(/\]/y)) {
    const first = member()
    const last = reader.take(/-(?!\])/y) ? member() : undefined
    if (!last) ranges.push(...first)
    else if (first.length > 1 || last.length > 1 || first[0]![0] > last[0]![0])
      reader.fail('a range ends before it begins, or has no end')
    else ranges.push([first[0]![0], last[0]![1]])
  }
  return not ? complement(ranges) : ranges
}

function plain(reader: Reader, pattern: RegExp): Range[] | undefined {
  const code = reader.take(pattern)?.codePointAt(0)
  return code === undefined ? undefined : [[code, code]]
}

const digits: readonly Range[] = [[0x30, 0x39]]
const word: readonly Range[] = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]
const lineEnds: readonly Range[] = [
  [0xa, 0xa],
  [0xd, 0xd],
  [0x2028, 0x2029],
]
const spaces: readonly Range[] = [
  ...([
    [0x9, 0xd],
    [0x20, 0x20],
    [0xa0, 0xa0],
    [0x1680, 0x1680],
    [0x2000, 0x200a],
  ] as const),
  ...([
    [0x2028, 0x2029],
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ] as const),
]
const sets: Readonly<Record<string, readonly Range[]>> = { d: digits, w: word, s: spaces }
const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, '0': 0 }

/** What a backslash begins: a character or a set of them. */
function escaped(reader: Reader): Range[] | undefined {
  const hex = reader.take(/\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|u\{[\da-fA-F]{1,6}\})/y)
  const set = hex ? undefined : reader.take(/\\[dDwWsS]/y)?.[1]
  if (set) return set === set.toLowerCase() ? [...sets[set]!] : complement(sets[set.toLowerCase()]!)
  const single = hex ?? reader.take(/\\[nrtfv0^$\\.*+?()[\]{}|/-]/y)
  if (single) {
    const number = hex === undefined ? undefined : Number.parseInt(hex.replace(/[\\xu{}]/g, ''), 16)
    const code = number ?? controls[single[1]!] ?? single.codePointAt(1)!
    return [[code, code]]
  }
  const other = reader.take(/\\.?/y)
  return other ? reader.fail(`${other} is not supported`) : undefined
}

/** One character of these, as JSON writes it between quotes: escaped where it has to be. */
function encoded(ranges: readonly Range[]): Expression {
  const special = [...Array.from({ length: 0x20 }, (_, i) => i), 0x22, 0x5c]
  const surrogates: Range = [0xd800, 0xdfff]
  const outside = [...complement(ranges), ...special.map((code): Range => [code, code]), surrogates]
  const toEscape = special.filter((code) => ranges.some(([first, last]) => code >= first && code <= last))
  const spelled = toEscape.map((code) => text(JSON.stringify(String.fromCharCode(code)).slice(1, -1)))
  return choice(chars(...complement(outside)), ...spelled)
}
