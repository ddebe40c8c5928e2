import type { Place } from '../errors.ts'
import { type Aligned, AlignedBuilder } from './aligned.ts'
import { charLength } from './chars.ts'
import { graphemes } from './graphemes.ts'

/**
 * The character map that a SentencePiece model carries (`precompiled_charsmap`): base64 of the byte length of
 * a double-array trie (u32), the trie (u32 units, darts-clone's layout) and NUL-ended replacements.
 *
 * It follows Hugging Face's normalizer, not SentencePiece: whole grapheme clusters of fewer than 6 bytes are
 * looked up first, then single characters, and the shortest key that begins the looked-up string decides.
 * That is what models with a tokenizer.json are served with.
 */
export function precompiledNormalizer(base64: string, place: Place): (text: Aligned) => Aligned {
  const map = new CharsMap(base64, place)
  return (text) => {
    const builder = new AlignedBuilder(text.text.length)
    let changed = false
    const put = (at: number, part: string): boolean => {
      const found = map.find(part)
      if (found === undefined) return false
      changed = true
      addReplacement(builder, text, at, part, found)
      return true
    }
    graphemes(text.text, (from, to) => {
      const cluster = text.text.slice(from, to)
      if (cluster.length < 6 && utf8.encode(cluster).length < 6 && put(from, cluster)) return
      let at = from
      for (const char of cluster) {
        if (!put(at, char)) builder.copy(text, at, at + char.length)
        at += char.length
      }
    })
    return changed ? builder.done() : text
  }
}

/** Characters correspond one to one as far as they go; surplus new ones share the last old one's range. */
function addReplacement(
  builder: AlignedBuilder,
  text: Aligned,
  at: number,
  old: string,
  found: string,
): void {
  let end = at
  let start = at
  for (const char of found) {
    if (end < at + old.length) {
      start = end
      end += charLength(text.text, start)
    }
    builder.add(char, text.start(start), text.end(end - 1))
  }
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { ignoreBOM: true })

class CharsMap {
  private readonly units: Uint32Array
  private readonly replacements: Uint8Array
  private readonly found = new Map<string, string | undefined>()

  constructor(base64: string, place: Place) {
    const bytes = fromBase64(base64) ?? place.fail('not base64')
    const view = new DataView(bytes.buffer)
    const size = bytes.length < 4 ? -1 : view.getUint32(0, true)
    if (size < 0 || size % 4 !== 0 || 4 + size > bytes.length) place.fail('not a SentencePiece character map')
    this.units = new Uint32Array(size / 4)
    for (let i = 0; i < this.units.length; i++) this.units[i] = view.getUint32(4 + 4 * i, true)
    this.replacements = bytes.subarray(4 + size)
  }

  /** The replacement of the shortest key that `text` begins with. */
  find(text: string): string | undefined {
    if (!this.found.has(text)) {
      if (this.found.size > 10_000) this.found.clear()
      this.found.set(text, this.search(text)) // a few characters, so no slice
    }
    return this.found.get(text)
  }

  private search(key: string): string | undefined {
    let node = offset(this.units[0] ?? 0)
    for (const byte of utf8.encode(key)) {
      if (byte === 0) return undefined
      node ^= byte
      const unit = this.units[node]
      if (unit === undefined || (unit & 0x800000ff) !== byte) return undefined
      node ^= offset(unit)
      if ((unit >>> 8) & 1) {
        const begin = (this.units[node] ?? 0) & 0x7fffffff
        const end = this.replacements.indexOf(0, begin)
        return fromUtf8.decode(this.replacements.subarray(begin, end < 0 ? undefined : end))
      }
    }
    return undefined
  }
}

function fromBase64(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
  } catch {
    return undefined
  }
}

/** How far from a node its children are (darts-clone: bit 9 says that the offset is in units of 256). */
const offset = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6)
