/** Stop texts in a stream: text that could be the beginning of one is held back until that is decided. */
export class StopTexts {
  readonly #stops: readonly string[]
  #held = ''

  constructor(stops: readonly string[]) {
    this.#stops = stops
  }

  /** The text that is safe to show, and whether a stop text was found (it and what follows are dropped). */
  push(text: string): { text: string; stopped: boolean } {
    const all = this.#held + text
    const found = this.#stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0)
    if (found.length > 0) {
      this.#held = ''
      return { text: all.slice(0, Math.min(...found)), stopped: true }
    }
    let safe = all.length
    for (const stop of this.#stops)
      for (let length = Math.min(stop.length - 1, all.length); length > 0; length--)
        if (all.endsWith(stop.slice(0, length))) {
          safe = Math.min(safe, all.length - length)
          break
        }
    this.#held = all.slice(safe)
    return { text: all.slice(0, safe), stopped: false }
  }

  /** What is still held back at the end. */
  flush(): string {
    const rest = this.#held
    this.#held = ''
    return rest
  }
}
