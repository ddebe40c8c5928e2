/** Objects: named properties in their order, then others. */
import { charsBut, choice, type Expression, type Range, repeat, sequence, text } from './grammar.ts'
import { bracketed, comma, commaList, literal, pair, plainChar } from './json.ts'

export interface Property {
  readonly name: string
  readonly required: boolean
  readonly value: Expression
}

/** `others` is what any other property may be; undefined where there are none. */
export function objectOf(properties: readonly Property[], others: Expression | undefined): Expression {
  const members = properties.map(({ name, value }) => pair(literal(name), value))
  const other = others && pair(keyBut(properties.map(({ name }) => name)), others)
  const behind = (from: number): Expression[] => [
    ...members
      .slice(from)
      .map((member, i) => repeat(comma(member), properties[from + i]!.required ? 1 : 0, 1)),
    ...(other ? [repeat(comma(other), 0)] : []),
  ]
  // One option for each property that can be the first: all before it are left out.
  const firsts: Expression[] = []
  for (const [i, member] of members.entries()) {
    firsts.push(sequence(member, ...behind(i + 1)))
    if (properties[i]!.required) return bracketed('{', '}', choice(...firsts))
  }
  return bracketed('{', '}', choice(...firsts, other ? commaList(other, 0) : sequence()))
}

/** A key that is none of these, written without escapes: an escaped one could be one of them. */
function keyBut(names: readonly string[]): Expression {
  return sequence(text('"'), but(names.map((name) => [...name])), text('"'))
}

/** Plain characters that spell none of the words. */
function but(words: readonly (readonly string[])[]): Expression {
  if (words.length === 0) return repeat(plainChar, 0)
  const rests = new Map<string, string[][]>()
  for (const [first, ...rest] of words)
    if (first !== undefined) rests.set(first, [...(rests.get(first) ?? []), rest])
  const taken = [...rests.keys()].map((char): Range => [char.codePointAt(0)!, char.codePointAt(0)!])
  const plain = isPlain(taken)
  const options = [sequence(plain, repeat(plainChar, 0))]
  for (const [first, rest] of rests)
    if (!/["\\\p{Cc}\p{Cs}]/u.test(first)) options.push(sequence(text(first), but(rest)))
  if (words.every((word) => word.length > 0)) options.push(sequence())
  return choice(...options)
}

/** A plain character but these. */
const isPlain = (taken: readonly Range[]): Expression =>
  charsBut([0, 0x1f], [0x22, 0x22], [0x5c, 0x5c], [0xd800, 0xdfff], ...taken)
