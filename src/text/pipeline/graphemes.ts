/**
 * What may continue a grapheme cluster: marks, joiners, modifiers, the later parts of Korean syllables. And
 * what may begin one, whatever follows: format characters and a few letters that stand before their base.
 */
const continues = /[\p{M}\p{Grapheme_Extend}\p{Emoji_Modifier}\p{Cf}\u0e33\u0eb3\u1160-\u11ff\ud7b0-\ud7fb]/u
const begins =
  /[\p{Cf}\u0d4e\u{111c2}\u{111c3}\u{1193f}\u{11941}\u{11a3a}\u{11a84}-\u{11a89}\u{11d46}\u{11f02}\u1100-\u115f\ua960-\ua97c]/u

const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' })

/**
 * Reports the grapheme clusters of a text, from unit to unit. Two simplifications make it as fast as it must
 * be: `Intl.Segmenter`, which takes microseconds a character and longer the longer the text, is only asked
 * about stretches where something may join; and what always has six bytes or more, such as flags, comes in
 * single characters.
 */
export function graphemes(text: string, onCluster: (from: number, to: number) => void): void {
  const charAt = (i: number) => String.fromCodePoint(text.codePointAt(i)!)
  for (let at = 0; at < text.length; ) {
    let end = at
    let joined: boolean
    do {
      const char = charAt(end)
      end += char.length
      const next = end < text.length ? charAt(end) : ''
      joined = next !== '' && (continues.test(next) || begins.test(char) || (char === '\r' && next === '\n'))
    } while (joined)
    const first = at + charAt(at).length
    if (end === first) {
      onCluster(at, end)
      at = end
      continue
    }
    // One character more shows whether it belongs to what is before it.
    const after = end < text.length ? end + charAt(end).length : end
    const start = at
    for (const { segment, index } of segmenter.segment(text.slice(start, after))) {
      if (start + index >= end) break
      at = start + index + segment.length
      onCluster(start + index, at)
    }
  }
}
