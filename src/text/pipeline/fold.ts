import { escapeLiteral } from './chars.ts'

/** Every character that has a case variant, in one string, to be searched without regard to case. */
let casedCharacters: string | undefined

function cased(): string {
  if (casedCharacters === undefined) {
    casedCharacters = ''
    for (let point = 0; point < 0x1ffff; point++) {
      if (point >= 0xd800 && point < 0xe000) continue
      const char = String.fromCodePoint(point)
      if (/\p{Changes_When_Casemapped}/u.test(char)) casedCharacters += char
    }
  }
  return casedCharacters
}

/** A class of the characters that equal `char` without regard to case: `[Ssſ]` for s. */
export function foldedLetter(char: string): string {
  const variants = cased().match(new RegExp(escapeLiteral(char), 'giv'))
  return variants === null ? escapeLiteral(char) : `[${variants.map(escapeLiteral).join('')}]`
}

/** A class closed under case: with every variant of every character in it. */
export function foldedClass(source: string): string {
  const negated = source.startsWith('[^')
  const positive = negated ? `[${source.slice(2)}` : source
  const variants = cased().match(new RegExp(positive, 'giv')) ?? []
  return `[${negated ? '^' : ''}${positive}${variants.map(escapeLiteral).join('')}]`
}
