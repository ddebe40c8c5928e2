/** How damaged UTF-8 becomes U+FFFD: one for as much of a character as there is (the web's rule), or one a byte. */
export type Damage = 'each sequence' | 'each byte'

/** Decodes UTF-8 byte by byte, giving every character as soon as its last byte is there. */
export class Utf8Decoder {
  private readonly damage: Damage
  private point = 0
  private seen = 0
  private needed = 0
  private low = 0x80
  private high = 0xbf

  constructor(damage: Damage) {
    this.damage = damage
  }

  /** Whether no character is unfinished. */
  get idle(): boolean {
    return this.needed === 0
  }

  push(byte: number): string {
    if (this.needed === 0) return this.begin(byte)
    if (byte < this.low || byte > this.high) return this.flush() + this.begin(byte)
    this.low = 0x80
    this.high = 0xbf
    this.point = (this.point << 6) | (byte & 0x3f)
    this.seen++
    if (this.seen < this.needed) return ''
    this.needed = 0
    return String.fromCodePoint(this.point)
  }

  /** Gives up an unfinished character. */
  flush(): string {
    if (this.needed === 0) return ''
    this.needed = 0
    this.low = 0x80
    this.high = 0xbf
    return '\ufffd'.repeat(this.damage === 'each byte' ? this.seen : 1)
  }

  /** The first byte of a character; the limits shut out overlong forms, surrogates and what is past U+10FFFF. */
  private begin(byte: number): string {
    if (byte < 0x80) return String.fromCharCode(byte)
    if (byte < 0xc2 || byte > 0xf4) return '\ufffd'
    this.seen = 1
    this.needed = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
    this.point = byte & (0xff >> (this.needed + 1))
    if (byte === 0xe0) this.low = 0xa0
    if (byte === 0xed) this.high = 0x9f
    if (byte === 0xf0) this.low = 0x90
    if (byte === 0xf4) this.high = 0x8f
    return ''
  }
}
