import { punctuation } from './unicode.ts'

/**
 * White_Space, which is what Rust and Oniguruma mean by whitespace; JavaScript's `\s` adds U+FEFF and lacks
 * U+0085. All of it is in the basic plane, so one UTF-16 unit is one character.
 */
const whiteSpace = /\p{White_Space}/u
const whiteSpaceUnits = new Uint8Array(0x10000).map((_, unit) =>
  Number(whiteSpace.test(String.fromCharCode(unit))),
)

export const isSpace = (unit: number): boolean => whiteSpaceUnits[unit] === 1

/** Where the whitespace that ends at `end` begins. */
export function spaceBefore(text: string, end: number): number {
  while (end > 0 && isSpace(text.charCodeAt(end - 1))) end--
  return end
}

/** Where the whitespace that begins at `start` ends. */
export function spaceAfter(text: string, start: number): number {
  while (start < text.length && isSpace(text.charCodeAt(start))) start++
  return start
}

/** Characters of a word, Oniguruma's `\w`: the inside of a `v`-mode character class. */
export const wordClass = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}'

/** Rust's regex crate counts the join controls as word characters too. */
export const rustWordClass = `${wordClass}\\p{Join_Control}`

/** Punctuation as BERT has it: Unicode's, and every ASCII symbol. */
export const punctuationClass = `${punctuation}\\x21-\\x2F\\x3A-\\x40\\x5B-\\x60\\x7B-\\x7E`

/** The length of the character (code point) at unit `i`: 1 or 2. */
export const charLength = (text: string, i: number): number => ((text.codePointAt(i) ?? 0) > 0xffff ? 2 : 1)

/** The length of the character that ends at unit `i`: 1 or 2. */
export const charLengthBefore = (text: string, i: number): number =>
  i > 1 && charLength(text, i - 2) === 2 ? 2 : 1

/**
 * The same text in memory of its own. A longer slice refers to what it was cut from, so that a cache of slices
 * would keep every text alive that it ever saw a new word of; short ones are copies already.
 */
export const detached = (text: string): string =>
  text.length < 13 ? text : (JSON.parse(JSON.stringify(text)) as string)

/** Lone surrogates, which have no UTF-8 form, as U+FFFD. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, '\ufffd')

/** A character as itself in a `u` or `v` regular expression, inside or outside of a class. */
export function escapeLiteral(char: string): string {
  return /^[A-Za-z0-9]$/.test(char) ? char : `\\u{${char.codePointAt(0)!.toString(16)}}`
}
