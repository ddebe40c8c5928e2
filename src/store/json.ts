/**
 * Strict JSON (RFC 8259) read straight from UTF-8 bytes, driven by what the caller expects to find.
 *
 * Unlike `JSON.parse`, it knows the byte of every mistake, refuses duplicate keys, and never builds a value
 * of a shape that nobody asked for. Every mistake is a FileError with the offset in the file.
 */
import { FileError, quote, utf8 } from './source.ts'

const depthLimit = 64

export class JsonReader {
  readonly #file: string
  readonly #base: number
  readonly #bytes: Uint8Array
  #at = 0

  /** Reads `bytes`, which begin at byte `base` of `file`. */
  constructor(file: string, base: number, bytes: Uint8Array) {
    this.#file = file
    this.#base = base
    this.#bytes = bytes
  }

  /** Position in the file of the next token. */
  get offset(): number {
    this.#space()
    return this.#base + this.#at
  }

  error(offset: number, reason: string, hint?: string): FileError {
    return new FileError(this.#file, offset, reason, hint)
  }

  /** An object; `member` reads the value of each key. Keys are distinct. */
  object(member: (key: string, offset: number) => void): void {
    const seen = new Set<string>()
    this.#expect('{')
    if (this.#accept('}')) return
    do {
      const offset = this.offset
      const key = this.string()
      if (seen.has(key)) throw this.error(offset, `key ${quote(key)} appears twice`)
      seen.add(key)
      this.#expect(':')
      member(key, offset)
    } while (this.#accept(','))
    this.#expect('}')
  }

  /** An array; `element` reads each of its values. */
  array(element: () => void): void {
    this.#expect('[')
    if (this.#accept(']')) return
    do element()
    while (this.#accept(','))
    this.#expect(']')
  }

  string(): string {
    const offset = this.offset
    this.#expect('"')
    const start = this.#at
    let escaped = false
    for (;;) {
      const byte = this.#bytes[this.#at]
      if (byte === 0x22) break
      if (byte === undefined || byte < 0x20) throw this.#unexpected('the end of the string')
      if (byte === 0x5c) escaped = true
      this.#at += byte === 0x5c ? 2 : 1
    }
    const text = utf8(this.#bytes, start, this.#at++)
    if (text === undefined) throw this.error(offset, 'the string is not valid UTF-8')
    if (!escaped) return text
    try {
      return JSON.parse(`"${text}"`) as string
    } catch {
      throw this.error(offset, 'the string has an escape that JSON does not know')
    }
  }

  /** A non-negative whole number that is exact in a JavaScript number, written in digits. */
  count(): number {
    const offset = this.offset
    const text = this.#word()
    const value = Number(text)
    if (!/^(0|[1-9]\d*)$/.test(text) || !Number.isSafeInteger(value))
      throw this.error(offset, `expected a whole number from 0 to 2^53 - 1, found ${quote(text)}`)
    return value
  }

  /** An object of any values. It has no prototype, so every key is an ordinary one. */
  record(depth = 0): Record<string, unknown> {
    const result: Record<string, unknown> = Object.create(null)
    this.object((key) => {
      result[key] = this.value(depth + 1)
    })
    return result
  }

  /** Any value, at most 64 levels deep. */
  value(depth = 0): unknown {
    if (depth === depthLimit) throw this.error(this.offset, `JSON deeper than ${depthLimit} levels`)
    this.#space()
    switch (this.#bytes[this.#at]) {
      case 0x7b:
        return this.record(depth)
      case 0x5b: {
        const result: unknown[] = []
        this.array(() => result.push(this.value(depth + 1)))
        return result
      }
      case 0x22:
        return this.string()
    }
    const offset = this.offset
    const text = this.#word()
    try {
      return JSON.parse(text)
    } catch {
      throw this.error(
        offset,
        text === '' ? `expected a value, found ${this.#found()}` : `unknown value ${quote(text)}`,
      )
    }
  }

  /** Nothing but white space is left. */
  end(): void {
    this.#space()
    if (this.#at < this.#bytes.length) throw this.#unexpected('the end of the JSON')
  }

  /** The characters of a number or literal, checked by the caller. */
  #word(): string {
    this.#space()
    const start = this.#at
    while (/[\w.+-]/.test(String.fromCharCode(this.#bytes[this.#at] ?? 0))) this.#at++
    return utf8(this.#bytes, start, this.#at)!
  }

  #space(): void {
    for (;;) {
      const byte = this.#bytes[this.#at]
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return
      this.#at++
    }
  }

  #accept(token: string): boolean {
    this.#space()
    if (this.#bytes[this.#at] !== token.charCodeAt(0)) return false
    this.#at++
    return true
  }

  #expect(token: string): void {
    if (!this.#accept(token)) throw this.#unexpected(token)
  }

  #found(): string {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) return 'the end'
    return byte > 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `byte 0x${byte.toString(16).padStart(2, '0')}`
  }

  #unexpected(wanted: string): FileError {
    const offset = this.#base + Math.min(this.#at, this.#bytes.length)
    return this.error(offset, `not the JSON expected: wanted ${wanted}, found ${this.#found()}`)
  }
}
