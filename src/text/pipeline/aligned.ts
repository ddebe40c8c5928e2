import type { Pattern } from './pattern.ts'

/**
 * A text on its way through the pipeline, which remembers for every UTF-16 unit the range of the input it
 * came from. Immutable.
 *
 * The rules are those of Hugging Face's `NormalizedString`, so offsets agree with it: what replaces a
 * character has that character's range, and what is inserted shares its neighbour's. Ranges are kept as
 * arrays only once the text differs from the input; until then one number, `shift`, says where it starts.
 */
export class Aligned {
  readonly text: string
  private readonly shift: number
  private readonly starts: Int32Array | undefined
  private readonly ends: Int32Array | undefined

  constructor(text: string, shift = 0, starts?: Int32Array, ends?: Int32Array) {
    this.text = text
    this.shift = shift
    this.starts = starts
    this.ends = ends
  }

  /** Where in the input unit `i` comes from: first unit, and one past the last. */
  start(i: number): number {
    return this.starts === undefined ? this.shift + i : this.starts[this.shift + i]!
  }

  end(i: number): number {
    return this.ends === undefined ? this.shift + i + 1 : this.ends[this.shift + i]!
  }

  /** Units `from` to `to`, without copying ranges. */
  slice(from: number, to: number): Aligned {
    if (from === 0 && to === this.text.length) return this
    return new Aligned(this.text.slice(from, to), this.shift + from, this.starts, this.ends)
  }

  /** Another text of the same length, unit for unit. */
  respelled(text: string): Aligned {
    return new Aligned(text, this.shift, this.starts, this.ends)
  }

  /** Every character (code point) replaced by a string, perhaps an empty one. */
  mapChars(map: (char: string) => string): Aligned {
    let builder: AlignedBuilder | undefined
    let i = 0
    for (const char of this.text) {
      const mapped = map(char)
      if (builder === undefined && mapped !== char) {
        builder = new AlignedBuilder(this.text.length)
        builder.copy(this, 0, i)
      }
      builder?.add(mapped, this.start(i), this.end(i + char.length - 1))
      i += char.length
    }
    return builder?.done() ?? this
  }

  /** Inserts before the first character, sharing its range; an empty text stays empty. */
  prepend(prefix: string): Aligned {
    if (this.text === '') return this
    const builder = new AlignedBuilder(prefix.length + this.text.length)
    const first = String.fromCodePoint(this.text.codePointAt(0)!)
    builder.add(prefix, this.start(0), this.end(first.length - 1))
    builder.copy(this, 0, this.text.length)
    return builder.done()
  }

  /** Replaces each match by `content`, which gets the range of the last character it replaces. */
  replace(find: Pattern, content: string): Aligned {
    const builder = new AlignedBuilder(this.text.length)
    let done = -1
    find(this.text, (from, to) => {
      builder.copy(this, Math.max(done, 0), from)
      const last = Math.max(0, to - 1)
      const first = isLowSurrogate(this.text, last) ? last - 1 : last
      builder.add(content, this.start(first), to === 0 ? this.start(0) : this.end(last))
      done = to
    })
    if (done < 0) return this
    builder.copy(this, done, this.text.length)
    return builder.done()
  }
}

const isLowSurrogate = (text: string, i: number) => (text.charCodeAt(i) & 0xfc00) === 0xdc00

/** Collects text with its ranges. */
export class AlignedBuilder {
  private parts: string[] = []
  private length = 0
  private starts: Int32Array
  private ends: Int32Array

  /** Room for `capacity` units; it grows. */
  constructor(capacity: number) {
    this.starts = new Int32Array(capacity)
    this.ends = new Int32Array(capacity)
  }

  /** All of `text` came from one range. */
  add(text: string, start: number, end: number): void {
    this.reserve(text.length)
    for (let i = 0; i < text.length; i++) {
      this.starts[this.length] = start
      this.ends[this.length++] = end
    }
    this.parts.push(text)
  }

  /** Units `from` to `to` of a text, as they are. */
  copy(source: Aligned, from: number, to: number): void {
    this.reserve(to - from)
    for (let i = from; i < to; i++) {
      this.starts[this.length] = source.start(i)
      this.ends[this.length++] = source.end(i)
    }
    if (from < to) this.parts.push(source.text.slice(from, to))
  }

  done(): Aligned {
    return new Aligned(this.parts.join(''), 0, this.starts, this.ends)
  }

  private reserve(more: number): void {
    if (this.length + more <= this.starts.length) return
    const size = Math.max(this.length + more, 2 * this.starts.length)
    const [starts, ends] = [new Int32Array(size), new Int32Array(size)]
    starts.set(this.starts)
    ends.set(this.ends)
    this.starts = starts
    this.ends = ends
  }
}
