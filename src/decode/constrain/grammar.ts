/**
 * Grammars as values. JSON schemas and GBNF files both become one of these, and an automaton is compiled
 * from it. Characters are code points; `refer` makes recursion possible.
 */
export type Expression =
  | { readonly kind: 'text'; readonly text: string }
  /** One character out of ranges of code points, ends included, in order and apart. */
  | { readonly kind: 'chars'; readonly ranges: readonly Range[] }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly part: Expression; readonly min: number; readonly max: number }
  | { readonly kind: 'refer'; readonly rule: string }

export type Range = readonly [first: number, last: number]

export interface Grammar {
  readonly rules: ReadonlyMap<string, Expression>
  readonly root: string
}

export const text = (value: string): Expression => ({ kind: 'text', text: value })
export const sequence = (...parts: readonly Expression[]): Expression => ({ kind: 'sequence', parts })
export const choice = (...options: readonly Expression[]): Expression => ({ kind: 'choice', options })
export const refer = (rule: string): Expression => ({ kind: 'refer', rule })
export const repeat = (part: Expression, min: number, max = Number.POSITIVE_INFINITY): Expression => ({
  kind: 'repeat',
  part,
  min,
  max,
})
export const optional = (part: Expression): Expression => repeat(part, 0, 1)

export const lastCodePoint = 0x10ffff

/** One of these characters: ranges in any order. */
export const chars = (...ranges: readonly Range[]): Expression => ({ kind: 'chars', ranges: tidy(ranges) })

/** Any character but these. */
export const charsBut = (...ranges: readonly Range[]): Expression => ({
  kind: 'chars',
  ranges: complement(ranges),
})

export const oneOf = (characters: string): Expression =>
  chars(...[...characters].map((char): Range => [char.codePointAt(0)!, char.codePointAt(0)!]))

export function complement(ranges: readonly Range[]): Range[] {
  const result: Range[] = []
  let from = 0
  for (const [first, last] of tidy(ranges)) {
    if (first > from) result.push([from, first - 1])
    from = last + 1
  }
  if (from <= lastCodePoint) result.push([from, lastCodePoint])
  return result
}

function tidy(ranges: readonly Range[]): Range[] {
  const result: [number, number][] = []
  for (const [first, last] of [...ranges].sort(([a], [b]) => a - b)) {
    const before = result.at(-1)
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last)
    else result.push([first, last])
  }
  return result
}
