/**
 * Words cut into morphemes by rules, where the corpus and a pronouncing dictionary agree: a stand-in for a gold set
 * such as CELEX, of which we have none. A word is cut
 *
 *   - before s, ed, ing or er, if what is left is a word that occurs with at least two of s, ed and ing;
 *   - before ly, ness, ful or less, and behind un, re or dis, if what is left is a word;
 *   - between two words of three letters or more that it is spelled and pronounced as (sunshine);
 *
 * always if the corpus has the parts too, and the pronunciation of the whole begins or ends with that of the part:
 * "thing" is no th-ing, "number" no numb-er. Parts are cut further. Limits: only where spelling is left alone (jump-ed, not
 * stopp-ed or hop-ed); some cuts are wrong (re-member, dis-gust: 5 of 153 that were looked at); a word that is not cut is
 * unknown, not simple, and is left out.
 */
import type { Tokenizer } from '../text/index.ts'

/** Phones without stress, by word; the first pronunciation. Lines as in CMUdict: `jumped JH AH1 M P T`. */
export function pronunciations(dictionary: string): Map<string, string> {
  const result = new Map<string, string>()
  for (const line of dictionary.split('\n')) {
    const match = /^([a-z]+) ([^#]+)/.exec(line)
    if (match && !result.has(match[1]!)) result.set(match[1]!, ` ${match[2]!.replace(/\d/g, '').trim()} `)
  }
  return result
}

const inflections = ['s', 'ed', 'ing'] as const
const derivations = ['ly', 'ness', 'ful', 'less'] as const
const prefixes = ['un', 're', 'dis'] as const
const shortest = 3

/** Places of the cuts in each word that has one. `words`: those of the corpus, in lower case. */
export function segment(
  words: ReadonlySet<string>,
  phones: ReadonlyMap<string, string>,
): Map<string, readonly number[]> {
  const found = new Map<string, readonly number[]>()
  const isWord = (word: string) => word.length >= shortest && words.has(word) && phones.has(word)
  const begins = (word: string, part: string) => phones.get(word)!.startsWith(phones.get(part)!)
  const inflects = (stem: string) => inflections.filter((end) => words.has(stem + end)).length >= 2

  function cut(word: string): readonly number[] {
    const known = found.get(word)
    if (known) return known
    for (const end of [...derivations, ...inflections, 'er']) {
      const stem = word.slice(0, -end.length)
      if (!word.endsWith(end) || !isWord(stem) || !begins(word, stem)) continue
      if ((derivations as readonly string[]).includes(end) || inflects(stem))
        return [...cut(stem), stem.length]
    }
    for (const start of prefixes) {
      const stem = word.slice(start.length)
      if (word.startsWith(start) && isWord(stem) && phones.get(word)!.endsWith(phones.get(stem)!))
        return [start.length, ...cut(stem).map((place) => place + start.length)]
    }
    for (let at = shortest; at <= word.length - shortest; at++) {
      const [left, right] = [word.slice(0, at), word.slice(at)]
      if (
        isWord(left) &&
        isWord(right) &&
        phones.get(word) === `${phones.get(left)!.trimEnd()}${phones.get(right)!}`
      )
        return [...cut(left), at, ...cut(right).map((place) => place + at)]
    }
    return []
  }

  for (const word of words) {
    if (!isWord(word)) continue
    const cuts = cut(word)
    if (cuts.length > 0) found.set(word, cuts)
  }
  return found
}

export interface BoundaryScores {
  readonly precision: number
  readonly recall: number
  readonly f1: number
}

/** The cuts that a tokenizer makes inside of words, with a space in front, against those that are given. */
export function boundaryScores(
  tokenizer: Tokenizer,
  gold: ReadonlyMap<string, readonly number[]>,
): BoundaryScores {
  let [made, right, given] = [0, 0, 0]
  for (const [word, cuts] of gold) {
    const { offsets } = tokenizer.encode(` ${word}`, { addSpecialTokens: false, parseSpecialTokens: false })
    const places = new Set(offsets.map(([start]) => start - 1).filter((place) => place > 0))
    made += places.size
    given += cuts.length
    right += cuts.filter((place) => places.has(place)).length
  }
  const precision = made > 0 ? right / made : 0
  const recall = given > 0 ? right / given : 0
  return { precision, recall, f1: right > 0 ? (2 * precision * recall) / (precision + recall) : 0 }
}
