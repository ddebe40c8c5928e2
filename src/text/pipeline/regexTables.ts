import { wordClass } from './chars.ts'

/** Escapes that stand for one character. */
export const controls: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  f: '\f',
  v: '\v',
  a: '\x07',
  e: '\x1b',
}

/** Escapes that stand for a set of characters, as they are written in a class. */
export const sets: Readonly<Record<string, string>> = {
  s: '\\p{White_Space}',
  S: '\\P{White_Space}',
  d: '\\p{Nd}',
  D: '\\P{Nd}',
  w: `[${wordClass}]`,
  W: `[^${wordClass}]`,
  h: '[0-9a-fA-F]',
  H: '[^0-9a-fA-F]',
}

/** Outside of classes, Oniguruma counts ²³¹¼½¾ as word characters. */
const word = `[${wordClass}\\xb2\\xb3\\xb9\\xbc-\\xbe]`
const notWord = `[^${word}]`

/** Escapes that mean something else outside of classes: words, and positions. */
export const bareEscapes: Readonly<Record<string, string>> = {
  w: word,
  W: notWord,
  b: `(?:(?<=${word})(?!${word})|(?<!${word})(?=${word}))`,
  B: `(?:(?<=${word})(?=${word})|(?<!${word})(?!${word}))`,
  A: '^',
  z: '$',
  Z: '(?=\\n?$)',
}
export const lineStart = '(?:^|(?<=\\n)(?!$))'
export const lineEnd = '(?=\\n|$)'

/** Oniguruma's POSIX names, by their Unicode meaning: the inside of a `v`-mode class. */
const posix: Readonly<Record<string, string>> = {
  alnum: '\\p{Alphabetic}\\p{Nd}',
  alpha: '\\p{Alphabetic}',
  ascii: '\\0-\\x7f',
  blank: '\\p{Zs}\\t',
  cntrl: '\\p{Cc}',
  digit: '\\p{Nd}',
  graph: '[^\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}]',
  lower: '\\p{Lowercase}',
  print: '[[^\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}]\\p{Zs}]',
  punct: '\\p{P}\\p{S}',
  space: '\\p{White_Space}',
  upper: '\\p{Uppercase}',
  word: wordClass,
  xdigit: '0-9a-fA-F',
}

/** `[:name:]` or `[:^name:]`; undefined if there is no such class. */
export function posixClass(name: string, negated: boolean): string | undefined {
  const set = Object.hasOwn(posix, name) ? posix[name] : undefined
  return set !== undefined && negated ? `[^${set}]` : set
}

/**
 * `\p{name}`: a POSIX name, a general category, a binary property or a script. Oniguruma ignores case,
 * spaces and underscores; JavaScript does not, so the usual capitalisations are tried.
 */
export function propertyClass(name: string): string | undefined {
  const plain = name.replace(/[\s_-]/g, '').toLowerCase()
  const known = plain === 'punct' ? '\\p{P}' : posixClass(plain, false) // unlike [:punct:], without symbols
  if (known !== undefined) return known
  const titled = name
    .trim()
    .toLowerCase()
    .replace(/(?:^|[\s_-])[a-z]/g, (start) => start.toUpperCase())
  for (const spelling of [name, titled.replace(/[\s-]/g, '_')]) {
    if (!/^\w+$/.test(spelling)) continue
    for (const candidate of [`\\p{${spelling}}`, `\\p{Script=${spelling}}`]) {
      if (compiles(candidate)) return candidate
    }
  }
  return undefined
}

function compiles(source: string): boolean {
  try {
    new RegExp(source, 'v')
    return true
  } catch {
    return false
  }
}
