import type { Aligned } from './aligned.ts'
import { rustWordClass, spaceAfter, spaceBefore } from './chars.ts'
import type { Normalizer } from './normalizers.ts'
import { Trie } from './trie.ts'

/** A token that is looked for in the text itself, before the model sees it. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** Only where no word character is next to it. */
  readonly singleWord: boolean
  /** Takes the whitespace before or after it along. */
  readonly leftStrip: boolean
  readonly rightStrip: boolean
  /** Looked for in the normalized text, in normalized form. */
  readonly normalized: boolean
  /** Left out by `skipSpecialTokens`; plain text with `parseSpecialTokens: false`. */
  readonly special: boolean
}

/** A stretch of text: an added token, or text to tokenize. */
export interface Section {
  readonly text: Aligned
  readonly token: AddedToken | undefined
}

const endsInWord = new RegExp(`[${rustWordClass}]$`, 'v')
const beginsWithWord = new RegExp(`^[${rustWordClass}]`, 'v')

/** Finds added tokens: the leftmost, and there the longest. */
export class AddedTokens {
  private readonly plain: TokenFinder
  private readonly normalized: TokenFinder
  private readonly normalizer: Normalizer

  constructor(
    tokens: readonly AddedToken[],
    normalizer: Normalizer,
    normalizedContent: (token: AddedToken) => string,
  ) {
    this.normalizer = normalizer
    this.plain = new TokenFinder(
      tokens.filter((token) => !token.normalized).map((token) => [token.content, token]),
    )
    this.normalized = new TokenFinder(
      tokens.filter((token) => token.normalized).map((token) => [normalizedContent(token), token]),
    )
  }

  /** Cuts a text into added tokens and normalized text, none of it empty. */
  split(text: Aligned, parseSpecial: boolean): Section[] {
    const sections: Section[] = []
    for (const section of this.plain.split(text, parseSpecial)) {
      if (section.token !== undefined) sections.push(section)
      else sections.push(...this.normalized.split(this.normalizer(section.text), parseSpecial))
    }
    return sections
  }
}

class TokenFinder {
  private readonly trie = new Trie()
  private readonly tokens: readonly AddedToken[]
  private readonly firstUnits = new Set<number>()

  constructor(tokens: readonly (readonly [string, AddedToken])[]) {
    this.tokens = tokens.map(([, token]) => token)
    tokens.forEach(([content], index) => {
      if (content === '') return
      this.trie.set(content, index)
      this.firstUnits.add(content.charCodeAt(0))
    })
  }

  split(text: Aligned, parseSpecial: boolean): Section[] {
    const sections: Section[] = []
    let done = 0
    const add = (from: number, to: number, token: AddedToken | undefined) => {
      if (from < to) sections.push({ text: text.slice(from, to), token })
    }
    for (let at = 0; this.firstUnits.size > 0 && at < text.text.length; ) {
      const found = this.firstUnits.has(text.text.charCodeAt(at))
        ? this.trie.longest(text.text, at)
        : undefined
      const token = found === undefined ? undefined : this.tokens[found.value]
      if (found === undefined || token === undefined) {
        at++
        continue
      }
      if ((parseSpecial || !token.special) && allowed(token, text.text, at, found.to)) {
        const from = token.leftStrip ? Math.max(spaceBefore(text.text, at), done) : at
        const to = token.rightStrip ? spaceAfter(text.text, found.to) : found.to
        add(done, from, undefined)
        add(from, to, token)
        done = to
      }
      at = Math.max(found.to, done)
    }
    add(done, text.text.length, undefined)
    return sections
  }
}

function allowed(token: AddedToken, text: string, from: number, to: number): boolean {
  if (!token.singleWord) return true
  return (
    !endsInWord.test(text.slice(Math.max(0, from - 2), from)) && !beginsWithWord.test(text.slice(to, to + 2))
  )
}
