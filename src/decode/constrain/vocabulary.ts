/** Which tokens of a vocabulary can follow in a state of a machine. */
import type { Tokenizer } from '../../text/index.ts'
import type { Machine, State } from './machine.ts'

/**
 * The tokens that are text, sorted by their bytes. Each is stored with the number of bytes that it shares with
 * the one before it: walked in order this is a trie, and what begins with a dead end is passed over.
 */
export class TextTokens {
  readonly #ids: number[] = []
  readonly #bytes: Uint8Array[] = []
  readonly #shared: number[] = []

  /** Special tokens stand for no text, and unused ids for nothing. */
  constructor(tokenizer: Tokenizer) {
    const entries: { id: number; bytes: Uint8Array }[] = []
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      const bytes = bytesOf(tokenizer, id)
      if (bytes && bytes.length > 0) entries.push({ id, bytes })
    }
    entries.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
    for (const { id, bytes } of entries) {
      this.#shared.push(sharedLength(this.#bytes.at(-1), bytes))
      this.#ids.push(id)
      this.#bytes.push(bytes)
    }
  }

  /** The ids that can follow, in the order of their bytes. */
  allowed(machine: Machine, state: State): number[] {
    const found: number[] = []
    const path: State[] = [state]
    // Bytes of the current token that have been read, and beyond which the walk failed.
    let deadAt = Number.POSITIVE_INFINITY
    for (const [i, bytes] of this.#bytes.entries()) {
      const shared = this.#shared[i]!
      if (shared > deadAt) continue
      deadAt = Number.POSITIVE_INFINITY
      path.length = Math.min(path.length, shared + 1)
      for (let at = path.length - 1; at < bytes.length; at++) {
        const next = machine.step(path[at]!, bytes[at]!)
        if (!next) {
          deadAt = at
          break
        }
        path.push(next)
      }
      if (deadAt === Number.POSITIVE_INFINITY) found.push(this.#ids[i]!)
    }
    return found
  }
}

function bytesOf(tokenizer: Tokenizer, id: number): Uint8Array | undefined {
  try {
    return tokenizer.isSpecial(id) ? undefined : tokenizer.bytes(id)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function sharedLength(a: Uint8Array | undefined, b: Uint8Array): number {
  let length = 0
  while (a && length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}
