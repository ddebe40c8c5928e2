/**
 * Thousands of texts for tokenizers, the same on every machine: all scripts, emoji sequences, control characters, runs of
 * spaces, piles of marks, lone surrogates, code, and the traps of texts.json in new company.
 */
import { readFileSync } from 'node:fs'
import { random } from '../../src/array/index.ts'

const fixture = (name: string): string =>
  readFileSync(new URL(`../fixtures/text/${name}`, import.meta.url), 'utf8')

interface Run {
  readonly start: number
  readonly length: number
}
const runs: Run[] = []
let end = 0
for (const line of fixture('assigned.txt').trim().split('\n')) {
  const [gap, length] = line.split(' ').map((part) => Number.parseInt(part, 16)) as [number, number]
  runs.push({ start: end + gap, length })
  end += gap + length
}

const traps: readonly string[] = JSON.parse(fixture('texts.json'))
const emoji = [
  '🙂',
  '👍🏽',
  '👩‍🚀',
  '👨‍👩‍👧‍👦',
  '🏳️‍🌈',
  '🇩🇪',
  '🇫🇷🇬🇧',
  '🇦',
  '1️⃣',
  '#⃣',
  '❤️',
  '☺',
  '🏴\u{e0067}\u{e0062}\u{e007f}',
  '🤦🏿‍♂️',
  '©️',
  '\u200d',
  '\ufe0f',
  '🏽',
]
const spaces = [
  '\t',
  '\n',
  '\v',
  '\f',
  '\r',
  '\r\n',
  ' ',
  ' ',
  ' ',
  '  ',
  '    ',
  '\x85',
  '\xa0',
  '\u1680',
  '\u2000',
  '\u2003',
  '\u2009',
  '\u200a',
  '\u2028',
  '\u2029',
  '\u202f',
  '\u205f',
  '\u3000',
]
const controls = [
  '\0',
  '\x01',
  '\x07',
  '\b',
  '\x0e',
  '\x1b[0m',
  '\x7f',
  '\x80',
  '\x8f',
  '\x9f',
  '\xad',
  '\u061c',
  '\u200b',
  '\u200c',
  '\u200e',
  '\u202a',
  '\u202e',
  '\u2060',
  '\u2066',
  '\ufeff',
  '\ufff9',
  '\ufffd',
  '\u{e0001}',
  '\ue000',
  '\u{f0000}',
]
const marks = [
  '\u0300',
  '\u0301',
  '\u0302',
  '\u0307',
  '\u0308',
  '\u0323',
  '\u0327',
  '\u0328',
  '\u0345',
  '\u05b0',
  '\u064b',
  '\u093c',
  '\u0e48',
  '\u1161',
  '\u11a8',
  '\u20dd',
  '\u3099',
]
const compatible = [
  'ﬁ',
  'ﷺ',
  'Å',
  'ｶﾞ',
  '①',
  '㌔',
  'Ǆ',
  'ŉ',
  '½',
  'Ⅷ',
  '²',
  '…',
  'ẞ',
  'İ',
  'ſ',
  '가',
  '\u1112\u1161\u11ab',
  '豈',
  '\u{2f800}',
  '𝟘',
  'ﬗ',
  '\u0344',
  '\u2126',
]
const words = [
  'the',
  'The',
  'THE',
  'quick',
  'brown',
  'fox',
  'jumps',
  "don't",
  "I'LL",
  "we've",
  'x',
  'y1',
  '42',
  '007',
  '1234567',
  '3.14',
  'snake_case',
  'camelCase',
  'HTMLParser',
  '->',
  '==',
  '::',
  '/*',
  '*/',
  '"',
  "'",
  '\\',
  '{',
  '}',
  '(',
  ');',
  '...',
  '?!',
  '$',
  '#',
  '@',
  '%',
  '&&',
  'https://',
  '.com',
  '<s>',
  '</s>',
  '[MASK]',
  '<|endoftext|>',
  '<0x41>',
  '##ing',
  '▁',
  'Ġ',
  'word',
]

export function strings(count: number, seed: number): string[] {
  const uniform = random.generator(seed)
  const below = (n: number): number => Math.floor(uniform() * n)
  const between = (low: number, high: number): number => low + below(high - low + 1)
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!
  /** A window of neighbours: most often of one script. Every run is as likely as any other. */
  const window = (): (() => string) => {
    const { start, length } = pick(runs)
    const width = Math.min(length, between(2, 90))
    const from = start + below(length - width + 1)
    return () => String.fromCodePoint(from + below(width))
  }
  const repeat = (low: number, high: number, make: () => string): string =>
    Array.from({ length: between(low, high) }, make).join('')
  const script = (): string => {
    const char = window()
    return repeat(1, 24, () => (below(6) === 0 ? ' ' : char()))
  }
  const word = (): string => (below(3) === 0 ? repeat(1, 6, window()) : pick(words))
  const kinds: readonly (() => string)[] = [
    script,
    () => repeat(2, 12, () => window()()),
    () => repeat(1, 8, () => (below(3) === 0 ? word() : pick(emoji))),
    () => repeat(1, 8, () => (below(2) === 0 ? word() : pick(controls))),
    () => repeat(1, 10, () => (below(3) === 0 ? word() : pick(spaces))),
    () =>
      repeat(1, 8, () =>
        pick([word(), `${String.fromCharCode(between(0xd800, 0xdfff))}${pick(words)}`, pick(emoji).slice(1)]),
      ),
    () => repeat(2, 16, () => (below(4) === 0 ? pick(spaces) : pick(words))),
    () => repeat(1, 10, () => pick([window()(), pick(marks), pick(marks), pick(compatible), ' '])),
    () => repeat(2, 4, () => pick([pick(traps).slice(0, 40), script(), word(), ' '])),
  ]
  return Array.from({ length: count }, (_, i) => kinds[i % kinds.length]!())
}
