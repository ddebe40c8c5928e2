/** Reads a text piece by piece, and says where something is wrong. */
export class Reader {
  readonly #source: string
  readonly #label: string
  #at = 0

  /** `label` is what errors call the text. */
  constructor(source: string, label: string) {
    this.#source = source
    this.#label = label
  }

  get done(): boolean {
    return this.#at >= this.#source.length
  }

  /** What a sticky pattern matches here; undefined if nothing. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const [found] = pattern.exec(this.#source) ?? []
    this.#at += found?.length ?? 0
    return found
  }

  /** Passes over spaces and comments, and over line ends where they mean nothing. */
  space(lines: boolean): void {
    this.take(lines ? /(?:\s|#[^\n]*)*/y : /(?:[ \t]|#[^\n]*)*/y)
  }

  fail(reason: string): never {
    const before = this.#source.slice(0, this.#at)
    const line = before.split('\n').length
    throw new Error(`${this.#label}: line ${line}, column ${this.#at - before.lastIndexOf('\n')}: ${reason}`)
  }
}
