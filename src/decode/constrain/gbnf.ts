/**
 * Reads llama.cpp's grammar format, GBNF: `root ::= "yes" | [0-9]+ name`. Rules, literals, classes, `.`, groups,
 * `* + ? {m,n}` and comments are known; references to tokens (`<think>`) are not.
 */
import {
  chars,
  charsBut,
  choice,
  type Expression,
  type Grammar,
  lastCodePoint,
  type Range,
  refer,
  repeat,
  sequence,
  text,
} from './grammar.ts'
import { Reader } from './reader.ts'

export function parseGbnf(source: string): Grammar {
  const rules = new Map<string, Expression>()
  const reader = new Reader(source, 'grammar')
  for (reader.space(true); !reader.done; reader.space(true)) {
    const name = reader.take(/[A-Za-z0-9_-]+/y) ?? reader.fail('expected the name of a rule')
    reader.space(true)
    if (!reader.take(/::=/y)) reader.fail(`expected ::= after '${name}'`)
    reader.space(true)
    if (rules.has(name)) reader.fail(`rule '${name}' is there twice`)
    rules.set(name, alternatives(reader, false))
    if (!reader.done && !reader.take(/\r?\n/y)) reader.fail('expected the end of the rule')
  }
  if (!rules.has('root')) throw new Error("grammar: there is no rule 'root', with which it begins")
  return { rules, root: 'root' }
}

function alternatives(reader: Reader, nested: boolean): Expression {
  const options = [concatenation(reader, nested)]
  while (reader.take(/\|/y)) {
    reader.space(true)
    options.push(concatenation(reader, nested))
  }
  return options.length === 1 ? options[0]! : choice(...options)
}

function concatenation(reader: Reader, nested: boolean): Expression {
  const parts: Expression[] = []
  for (;;) {
    const item = atom(reader)
    if (!item) return sequence(...parts)
    parts.push(quantified(reader, item))
    reader.space(nested)
  }
}

function atom(reader: Reader): Expression | undefined {
  if (reader.take(/"/y)) {
    let value = ''
    while (!reader.take(/"/y)) value += String.fromCodePoint(character(reader, 'a text that begins with "'))
    return text(value)
  }
  if (reader.take(/\[/y)) return characterClass(reader)
  if (reader.take(/\./y)) return charsBut()
  if (reader.take(/\(/y)) {
    reader.space(true)
    const group = alternatives(reader, true)
    if (!reader.take(/\)/y)) reader.fail('expected )')
    return group
  }
  if (reader.take(/!?</y)) reader.fail('references to tokens are not supported: write their text in quotes')
  const name = reader.take(/[A-Za-z0-9_-]+/y)
  return name === undefined ? undefined : refer(name)
}

function quantified(reader: Reader, item: Expression): Expression {
  const sign = reader.take(/[*+?]/y)
  if (sign) return repeat(item, sign === '+' ? 1 : 0, sign === '?' ? 1 : Number.POSITIVE_INFINITY)
  const counts = reader.take(/\{\d+(?:,\d*)?\}/y)
  if (!counts) return item
  const [least, most = least] = counts.slice(1, -1).split(',') as [string, string?]
  const [min, max] = [Number(least), most === '' ? Number.POSITIVE_INFINITY : Number(most)]
  if (max < min) reader.fail(`${counts}: the second number is the smaller one`)
  return repeat(item, min, max)
}

function characterClass(reader: Reader): Expression {
  const not = reader.take(/\^/y) !== undefined
  const ranges: Range[] = []
  while (!reader.take(/\]/y)) {
    const first = character(reader, 'a class that begins with [')
    const last = reader.take(/-(?!\])/y) ? character(reader, 'a class that begins with [') : first
    if (last < first) reader.fail('a range of characters ends before it begins')
    ranges.push([first, last])
  }
  return not ? charsBut(...ranges) : chars(...ranges)
}

const escapes: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9 }

/** A character of a text or a class, escapes read. */
function character(reader: Reader, within: string): number {
  const hex = reader.take(/\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8})/y)
  if (hex) {
    const code = Number.parseInt(hex.slice(2), 16)
    if (code > lastCodePoint || (code >= 0xd800 && code <= 0xdfff)) reader.fail(`${hex} is no character`)
    return code
  }
  const escaped = reader.take(/\\[nrt"\\[\]-]/y)
  if (escaped) return escapes[escaped[1]!] ?? escaped.codePointAt(1)!
  if (reader.take(/\\/y)) reader.fail('an unknown escape')
  const plain = reader.take(/[^\n]/uy) ?? reader.fail(`${within} has no end`)
  return plain.codePointAt(0)!
}
