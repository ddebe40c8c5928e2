/** How often each word of a corpus occurs: all that training needs to know, and all that it keeps. */
import { Place } from '../errors.ts'
import { type AddedToken, AddedTokens } from '../pipeline/addedTokens.ts'
import { Aligned } from '../pipeline/aligned.ts'
import { detached, wellFormed } from '../pipeline/chars.ts'
import { normalizer } from '../pipeline/normalizers.ts'
import { preTokenizer } from '../pipeline/preTokenizers.ts'
import type { SectionJson } from './tokenizerJson.ts'

export type WordCounts = ReadonlyMap<string, number>

/** What happens to a text before the model: the same sections, by the same code, as in the trained tokenizer. */
export interface Front {
  readonly specialTokens: readonly string[]
  readonly normalizer: SectionJson | null
  readonly preTokenizer: SectionJson | null
}

/** Counts the words of texts: special tokens cut out first, then normalized, then split. */
export class WordCounter {
  readonly counts = new Map<string, number>()
  readonly #added: AddedTokens
  readonly #split: (text: Aligned) => Aligned[]

  constructor(front: Front) {
    const place = new Place('training options')
    const normalize = normalizer(front.normalizer, place.at('normalizer'))
    const tokens = front.specialTokens.map((content, id): AddedToken => {
      const plain = { singleWord: false, leftStrip: false, rightStrip: false, normalized: false }
      return { id, content, special: true, ...plain }
    })
    this.#added = new AddedTokens(tokens, normalize, ({ content }) => content)
    this.#split = preTokenizer(front.preTokenizer, place.at('pre_tokenizer'))
  }

  add(text: string): void {
    const { counts } = this
    for (const section of this.#added.split(new Aligned(wellFormed(text)), true)) {
      if (section.token !== undefined) continue
      for (const { text: word } of this.#split(section.text)) {
        const count = counts.get(word)
        if (count === undefined) counts.set(detached(word), 1)
        else counts.set(word, count + 1)
      }
    }
  }
}

export type Texts = Iterable<string>
export type AsyncTexts = AsyncIterable<string>

/** Counts the words of all texts, one after the other, and gives them to `finish`. A stream's result is a promise. */
export function overWords<T>(
  texts: Texts | AsyncTexts,
  front: Front,
  finish: (counts: WordCounts) => T,
): T | Promise<T> {
  const counter = new WordCounter(front)
  if (Symbol.asyncIterator in texts)
    return (async () => {
      for await (const text of texts) counter.add(text)
      return finish(counter.counts)
    })()
  for (const text of texts) counter.add(text)
  return finish(counter.counts)
}
