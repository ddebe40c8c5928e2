import { type Aligned, AlignedBuilder } from './aligned.ts'
import { detached } from './chars.ts'

/**
 * The byte alphabet of GPT-2: every byte is written as one printable character, so that any text is a string
 * over 256 characters. Printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
 */
export const charOfByte: readonly string[] = makeAlphabet()
const byteOfChar: ReadonlyMap<string, number> = new Map(charOfByte.map((char, byte) => [char, byte]))

function makeAlphabet(): string[] {
  const printable = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae
  let next = 0x100
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++))
}

/** The bytes that a spelling in the byte alphabet stands for; a spelling outside it is plain text. */
export function bytesOfSpelling(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfChar.get(token[i]!)
    if (byte === undefined) return new TextEncoder().encode(token)
    bytes[i] = byte
  }
  return bytes
}

const ascii = /^\p{ASCII}*$/u
const encoder = new TextEncoder()

/**
 * Spells texts in the byte alphabet. The bytes of a character share its range. Short ASCII texts, which is
 * most words, are spelled once and remembered, up to a bound.
 */
export function byteSpeller(): (text: Aligned) => Aligned {
  const spellings = new Map<string, string>()
  return (text) => {
    const known = spellings.get(text.text)
    if (known !== undefined) return text.respelled(known)
    if (!ascii.test(text.text)) return spellUnicode(text)
    let spelled = ''
    for (let i = 0; i < text.text.length; i++) spelled += charOfByte[text.text.charCodeAt(i)]!
    if (text.text.length <= 32) {
      if (spellings.size >= 20_000) spellings.clear()
      spellings.set(detached(text.text), spelled)
    }
    return text.respelled(spelled)
  }
}

function spellUnicode(text: Aligned): Aligned {
  const builder = new AlignedBuilder(3 * text.text.length)
  let i = 0
  for (const char of text.text) {
    let spelled = ''
    for (const byte of encoder.encode(char)) spelled += charOfByte[byte]!
    builder.add(spelled, text.start(i), text.end(i + char.length - 1))
    i += char.length
  }
  return builder.done()
}
