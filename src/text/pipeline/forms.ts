import { type Aligned, AlignedBuilder } from './aligned.ts'
import { charLength } from './chars.ts'
import { normalize } from './unicode.ts'

export type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD'

/** A code point of the output, and how many input code points it uses up: 1 - `change`. */
interface Item {
  readonly char: string
  change: number
}

/**
 * Unicode normalization that keeps ranges. `String.prototype.normalize` gives the text; what each of its
 * characters stands for is found by decomposing the input one character at a time and matching the output's
 * decompositions against that. Equal characters are never reordered among themselves, so the first unused
 * equal one is always the right one, and no table of combining classes is needed.
 */
export function normalizeForm(text: Aligned, form: Form): Aligned {
  const normal = normalize(text.text, form)
  if (normal === text.text) return text
  const items = regroup(decomposed(text.text, form), normal, form)
  return applyChanges(text, items)
}

/** Code points of each character's own decomposition; all but the first are insertions. */
function* decomposed(text: string, form: Form): Generator<Item> {
  const decomposition = form === 'NFC' || form === 'NFD' ? 'NFD' : 'NFKD'
  for (const source of text) {
    let change = 0
    for (const char of normalize(source, decomposition)) {
      yield { char, change }
      change = 1
    }
  }
}

/** The output's characters, each made of the decomposed items it is composed of. Linear in the text. */
function regroup(items: Iterator<Item>, normal: string, form: Form): Item[] {
  const waiting = new Map<string, { changes: number[]; head: number }>()
  const take = (char: string): number => {
    for (;;) {
      const queue = waiting.get(char)
      if (queue !== undefined && queue.head < queue.changes.length) return queue.changes[queue.head++]!
      const next = items.next()
      if (next.done) return 0
      const { char: found, change } = next.value
      if (found === char) return change
      const other = waiting.get(found)
      if (other === undefined) waiting.set(found, { changes: [change], head: 0 })
      else other.changes.push(change)
    }
  }
  const composed: Item[] = []
  for (const char of normal) {
    let change = 1
    const components = form === 'NFC' || form === 'NFKC' ? normalize(char, 'NFD') : char
    for (const component of components) change += take(component) - 1
    composed.push({ char, change })
  }
  return composed
}

/** Lines the output up with the input: an insertion shares the range of the character before it. */
function applyChanges(text: Aligned, items: readonly Item[]): Aligned {
  const builder = new AlignedBuilder(text.text.length)
  let at = 0
  let previous = 0
  for (const { char, change } of items) {
    if (change <= 0) {
      previous = at
      at += charLength(text.text, at)
    }
    builder.add(char, text.start(previous), text.end(previous + charLength(text.text, previous) - 1))
    for (let removed = change; removed < 0; removed++) {
      previous = at
      at += charLength(text.text, at)
    }
  }
  return builder.done()
}
