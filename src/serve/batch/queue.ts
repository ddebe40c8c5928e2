/** Who waits: callers take turns, so that one with many requests does not keep the others waiting. */
export class FairQueue<T> {
  /** In the order of their turns. */
  readonly #callers = new Map<string, T[]>()
  #length = 0

  get length(): number {
    return this.#length
  }

  push(caller: string, item: T): void {
    const own = this.#callers.get(caller)
    if (own) own.push(item)
    else this.#callers.set(caller, [item])
    this.#length++
  }

  /** Takes the first item, by turns, that is accepted. A caller's own items keep their order. */
  take(accept: (item: T) => boolean): T | undefined {
    for (const [caller, items] of this.#callers) {
      if (!accept(items[0]!)) continue
      const item = items.shift()!
      this.#callers.delete(caller)
      // To the end of the line.
      if (items.length > 0) this.#callers.set(caller, items)
      this.#length--
      return item
    }
    return undefined
  }

  /** Takes out what is no longer wanted. */
  drop(unwanted: (item: T) => boolean): T[] {
    const dropped: T[] = []
    for (const [caller, items] of [...this.#callers]) {
      const left = items.filter((item) => !unwanted(item))
      dropped.push(...items.filter((item) => unwanted(item)))
      if (left.length > 0) this.#callers.set(caller, left)
      else this.#callers.delete(caller)
    }
    this.#length -= dropped.length
    return dropped
  }
}
