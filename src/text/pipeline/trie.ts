import { PairTable } from './pairTable.ts'

/** Strings with a value each, to be found at a place in a text. */
export class Trie {
  private readonly children = new PairTable() // (node, UTF-16 unit) -> node
  private readonly values: number[] = [-1] // of a node, -1 where no string ends

  /** Adds a string, or gives it another value (not negative). */
  set(key: string, value: number): void {
    let node = 0
    for (let i = 0; i < key.length; i++) {
      const unit = key.charCodeAt(i)
      let child = this.children.get(node, unit)
      if (child < 0) {
        child = this.values.push(-1) - 1
        this.children.set(node, unit, child)
      }
      node = child
    }
    this.values[node] = value
  }

  /** Reports every string that the text has at unit `from`, shortest first: where it ends, and its value. */
  prefixes(text: string, from: number, onFound: (to: number, value: number) => void): void {
    let node = 0
    for (let i = from; i < text.length; i++) {
      node = this.children.get(node, text.charCodeAt(i))
      if (node < 0) return
      const value = this.values[node]!
      if (value >= 0) onFound(i + 1, value)
    }
  }

  /** The longest string that the text has at unit `from`: where it ends (`from` if there is none) and its value. */
  longest(text: string, from: number): { to: number; value: number } {
    const found = { to: from, value: -1 }
    this.prefixes(text, from, (to, value) => {
      found.to = to
      found.value = value
    })
    return found
  }
}
