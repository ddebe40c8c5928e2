import type { Place } from '../errors.ts'
import { escapeLiteral } from './chars.ts'
import { foldedClass, foldedLetter } from './fold.ts'
import { bareEscapes, controls, lineEnd, lineStart, posixClass, propertyClass, sets } from './regexTables.ts'

/**
 * Translates an Oniguruma regular expression, which tokenizer.json uses, to a JavaScript one (flags `gv`).
 *
 * `\s`, `\w`, `\d`, `^`, `$`, `.` and `\h` differ in meaning and are spelled out. `(?i:...)`, which Node 20
 * lacks, is done by listing each letter's variants (one to one: `ß` does not match `ss`). Atomic groups and
 * possessive quantifiers are made of a lookahead and a backreference, which matches the same. What has no
 * counterpart (backreferences, subexpression calls, `\R`, `\X`, `\G`, `\K`, conditions) is an error.
 */
export function translateRegex(source: string, place: Place): RegExp {
  const translated = new Translator(source, place).translate()
  try {
    return new RegExp(translated, 'gv')
  } catch (error) {
    return place.fail(`regular expression ${JSON.stringify(source)}: ${(error as Error).message}`)
  }
}

class Translator {
  private readonly source: string
  private readonly place: Place
  private at = 0
  private depth = 0
  private atomics = 0
  private ignoreCase = false
  private dotAll = false

  constructor(source: string, place: Place) {
    this.source = source
    this.place = place
  }

  translate(): string {
    const result = this.alternatives()
    if (this.at < this.source.length) this.fail('unmatched )')
    return result
  }

  private fail(reason: string): never {
    return this.place.fail(`regular expression ${JSON.stringify(this.source)}, at ${this.at}: ${reason}`)
  }

  private eat(text: string): boolean {
    if (!this.source.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  /** Matches a sticky regular expression here and moves past it. */
  private scan(regex: RegExp): RegExpExecArray | null {
    regex.lastIndex = this.at
    const match = regex.exec(this.source)
    if (match !== null) this.at += match[0].length
    return match
  }

  private alternatives(): string {
    if (++this.depth > 100) this.fail('nested too deeply')
    const saved = [this.ignoreCase, this.dotAll] as const
    const branches: string[] = ['']
    while (this.at < this.source.length && this.source[this.at] !== ')') {
      if (this.eat('|')) branches.push('')
      else if (this.inlineOptions()) branches[branches.length - 1] += `(?:${this.alternatives()})`
      else branches[branches.length - 1] += this.quantified()
    }
    ;[this.ignoreCase, this.dotAll] = saved
    this.depth--
    return branches.join('|')
  }

  /** `(?i)`: options for the rest of the group, other branches included: `a(?i)b|c` is `a(?i:b|c)`. */
  private inlineOptions(): boolean {
    const options = this.scan(/\(\?([imsx]*)(?:-([imsx]*))?\)/y)
    if (options === null) return false
    this.setOptions(options[1]!, true)
    this.setOptions(options[2] ?? '', false)
    return true
  }

  private setOptions(letters: string, on: boolean): void {
    for (const letter of letters) {
      if (letter === 'i') this.ignoreCase = on
      else if (letter === 'm') this.dotAll = on
      else this.fail(`option ${letter} is not supported`)
    }
  }

  private quantified(): string {
    let atom = this.atom()
    for (;;) {
      const range = this.scan(/\{(\d+)(,?)(\d*)\}|\{,(\d+)\}/y)
      let quantifier: string
      if (range !== null)
        quantifier = range[4] === undefined ? `{${range[1]}${range[2]}${range[3]}}` : `{0,${range[4]}}`
      else if ('*+?'.includes(this.source[this.at] ?? ' ')) quantifier = this.source[this.at++]!
      else return atom
      if (/^\(\?<?[=!]/.test(atom)) atom = `(?:${atom})`
      // Oniguruma: `{2}?` is an optional group; `?+` is possessive, but `{1,2}+` a repeated group.
      const exact = range !== null && range[2] === '' && range[4] === undefined
      const lazy = !exact && this.eat('?')
      const possessive = range === null && !lazy && this.eat('+')
      atom = `${atom}${quantifier}${lazy ? '?' : ''}`
      if (possessive) atom = this.atomic(atom)
      else if ('*+?{'.includes(this.source[this.at] ?? ' ')) atom = `(?:${atom})`
    }
  }

  private atomic(inner: string): string {
    const name = `atomic${this.atomics++}`
    return `(?:(?=(?<${name}>${inner}))\\k<${name}>)`
  }

  private atom(): string {
    const char = this.source[this.at]!
    if (char === '(') return this.group()
    if (char === '[') return this.charClass()
    if (char === '\\') return this.escape()
    if (this.scan(/[*+?]|\{(?:\d+,?\d*|,\d+)\}/y) !== null) this.fail('nothing to repeat')
    const point = String.fromCodePoint(this.source.codePointAt(this.at)!)
    this.at += point.length
    if (char === '.') return this.dotAll ? '\\p{Any}' : '[^\\n]'
    if (char === '^') return lineStart
    if (char === '$') return lineEnd
    return this.literal(point)
  }

  private literal(char: string): string {
    return this.ignoreCase ? foldedLetter(char) : escapeLiteral(char)
  }

  private group(): string {
    const [, kind = ''] = this.scan(/(\((?:\?(?:<[=!]|<[A-Za-z_]\w*>|[:=!>]|[imsx]*(?:-[imsx]*)?:))?)/y)!
    if (this.source[this.at] === '?' && kind === '(') this.fail('this kind of group is not supported')
    const saved = [this.ignoreCase, this.dotAll] as const
    const options = /^\(\?([imsx]*)(?:-([imsx]*))?:$/.exec(kind)
    this.setOptions(options?.[1] ?? '', true)
    this.setOptions(options?.[2] ?? '', false)
    const inner = this.alternatives()
    ;[this.ignoreCase, this.dotAll] = saved
    if (!this.eat(')')) this.fail('missing )')
    if (kind === '(?>') return this.atomic(inner)
    return /[=!]$/.test(kind) ? `${kind}${inner})` : `(?:${inner})`
  }

  private escape(): string {
    const letter = this.source[this.at + 1]
    if (letter !== undefined && Object.hasOwn(bareEscapes, letter)) {
      this.at += 2
      return bareEscapes[letter]!
    }
    const { set, char } = this.escaped()
    return set === undefined ? this.literal(char!) : `[${set}]` // sets by name keep their case
  }

  /** An escape inside or outside of a class: a set (as the inside of a class) or a single character. */
  private escaped(): { set?: string; char?: string } {
    const property = this.scan(/\\([pP])\{(\^?)([^}]*)\}/y)
    if (property !== null) {
      const [, p, caret, name] = property as unknown as string[]
      const set = propertyClass(name!) ?? this.fail(`unknown property ${name}`)
      return { set: (p === 'P') === (caret === '^') ? set : `[^${set}]` }
    }
    const code = this.scan(/\\x\{([0-9A-Fa-f]{1,6})\}|\\x([0-9A-Fa-f]{1,2})|\\u([0-9A-Fa-f]{4})/y)
    if (code !== null) {
      const point = Number.parseInt(code[1] ?? code[2] ?? code[3]!, 16)
      return point > 0x10ffff ? this.fail('not a character') : { char: String.fromCodePoint(point) }
    }
    const char = this.scan(/\\(\P{Cs})/uy)?.[1] ?? this.fail('unfinished escape')
    if (char in sets) return { set: sets[char]! }
    if (char in controls) return { char: controls[char]! }
    return /[A-Za-z0-9]/.test(char) ? this.fail(`\\${char} is not supported`) : { char }
  }

  /** A class, with nested classes, intersections and POSIX names, which `v` mode also has. */
  private charClass(): string {
    const translated = this.classBody()
    return this.ignoreCase ? foldedClass(translated) : translated
  }

  private classBody(): string {
    if (++this.depth > 100) this.fail('nested too deeply')
    this.at++
    const negated = this.eat('^') ? '^' : ''
    const operands = ['']
    for (let first = true; first || this.source[this.at] !== ']'; first = false) {
      if (this.at >= this.source.length) this.fail('missing ]')
      if (this.eat('&&')) operands.push('')
      else operands[operands.length - 1] += this.classItem()
    }
    this.at++
    this.depth--
    return operands.length === 1
      ? `[${negated}${operands[0]}]`
      : `[${negated}${operands.map((o) => `[${o}]`).join('&&')}]`
  }

  private classItem(): string {
    const posix = this.scan(/\[:(\^?)(\w+):\]/y)
    if (posix !== null)
      return posixClass(posix[2]!, posix[1] === '^') ?? this.fail(`unknown class ${posix[0]}`)
    if (this.source[this.at] === '[') return this.classBody()
    const low = this.classChar()
    if (low.set !== undefined) return low.set
    if (this.source[this.at] !== '-' || /^-(?:\]|&&|\[)/.test(this.source.slice(this.at, this.at + 3)))
      return escapeLiteral(low.char!)
    this.at++
    const high = this.classChar()
    if (high.set !== undefined) return `${escapeLiteral(low.char!)}\\-${high.set}`
    if (low.char!.codePointAt(0)! > high.char!.codePointAt(0)!) this.fail('range out of order')
    return `${escapeLiteral(low.char!)}-${escapeLiteral(high.char!)}`
  }

  private classChar(): { set?: string; char?: string } {
    if (this.at >= this.source.length) this.fail('missing ]')
    if (this.source[this.at] === '\\') return this.escaped()
    const char = String.fromCodePoint(this.source.codePointAt(this.at)!)
    this.at += char.length
    return { char }
  }
}
