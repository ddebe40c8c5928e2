/** Ranges of characters as ranges of their UTF-8 bytes. */
import type { Range } from './grammar.ts'

/** The last code point with 1, 2, 3 and 4 bytes; surrogates have no UTF-8 form. */
const blocks: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xd7ff],
  [0xe000, 0xffff],
  [0x10000, 0x10ffff],
]

/** The byte strings of a range of code points: each entry is a range for every byte, any combination of which is one. */
export function byteRanges([first, last]: Range): Range[][] {
  return blocks.flatMap(([low, high]) => {
    const [from, to] = [Math.max(first, low), Math.min(last, high)]
    return from > to ? [] : split(bytesOf(from), bytesOf(to))
  })
}

const bytesOf = (codePoint: number): number[] => [
  ...new TextEncoder().encode(String.fromCodePoint(codePoint)),
]

/** Byte strings of one length from `low` to `high`, as products of ranges. */
function split(low: readonly number[], high: readonly number[]): Range[][] {
  const [a, ...lowRest] = low as [number, ...number[]]
  const [b, ...highRest] = high as [number, ...number[]]
  if (lowRest.length === 0) return [[[a, b]]]
  const behind = (head: Range, from: number[], to: number[]) => split(from, to).map((tail) => [head, ...tail])
  if (a === b) return behind([a, a], lowRest, highRest)
  const least = lowRest.map(() => 0x80)
  const most = lowRest.map(() => 0xbf)
  const from = lowRest.every((byte) => byte === 0x80) ? a : a + 1
  const to = highRest.every((byte) => byte === 0xbf) ? b : b - 1
  return [
    ...(from > a ? behind([a, a], lowRest, most) : []),
    ...(from <= to ? [[[from, to] as Range, ...least.map((byte, i): Range => [byte, most[i]!])]] : []),
    ...(to < b ? behind([b, b], least, highRest) : []),
  ]
}
