/** A tokenizer file that cannot be used, or a text that a vocabulary cannot express. */
export class TokenizerError extends Error {
  override readonly name = 'TokenizerError'
  readonly file: string
  /** Where in the file: a JSON path (`model.merges[12]`), a metadata key or a byte offset (`byte 1042`). */
  readonly place: string
  readonly reason: string

  constructor(file: string, place: string, reason: string) {
    super(`${file}: ${place}: ${reason}`)
    this.file = file
    this.place = place
    this.reason = reason
  }
}

/** Where a value was read from, so that its error can say so. */
export class Place {
  readonly file: string
  readonly path: string
  readonly depth: number

  constructor(file: string, path = '', depth = 0) {
    this.file = file
    this.path = path
    this.depth = depth
  }

  /** The place of a member: `.key`, or `[index]`. */
  at(key: string | number): Place {
    const path =
      typeof key === 'number' ? `${this.path}[${key}]` : this.path === '' ? key : `${this.path}.${key}`
    return new Place(this.file, path, this.depth + 1)
  }

  fail(reason: string): never {
    throw new TokenizerError(this.file, this.path === '' ? 'top level' : this.path, reason)
  }
}

/** A value as an error message shows it: short, and on one line. */
export function quote(value: unknown): string {
  const plain = (_: string, part: unknown) => (typeof part === 'bigint' ? Number(part) : part)
  const text = JSON.stringify(value, plain) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}
