/**
 * Naive Bayes over the words and pairs of neighbouring words that a text has (their presence, not their number: Wang and
 * Manning 2012, "Baselines and Bigrams", found it as good as far larger models on short texts):
 *
 *   score(text) = Σ_f in text  ln p(f | yes) − ln p(f | no),   p(f | c) = (texts of c with f + 1) / (Σ_f texts of c with f + features)
 *
 * Both classes weigh the same, however many texts they had.
 */
export interface NaiveBayesOptions {
  /** Words that it must not look at; pairs with them neither. */
  readonly without?: ReadonlySet<string>
}

/** Runs of letters in lower case, with apostrophes within. */
export const wordsOf = (text: string): string[] => text.toLowerCase().match(/\p{L}+(?:['’]\p{L}+)*/gu) ?? []

function featuresOf(text: string, without: ReadonlySet<string>): Set<string> {
  const features = new Set<string>()
  let before: string | undefined
  for (const word of wordsOf(text)) {
    const hidden = without.has(word)
    if (!hidden) features.add(word)
    if (!hidden && before !== undefined) features.add(`${before} ${word}`)
    before = hidden ? undefined : word
  }
  return features
}

export class NaiveBayes {
  readonly #weights = new Map<string, number>()
  readonly #without: ReadonlySet<string>

  /** Throws where a class has no text. */
  constructor(
    yes: readonly string[],
    no: readonly string[],
    { without = new Set() }: NaiveBayesOptions = {},
  ) {
    if (yes.length === 0 || no.length === 0) throw new Error('naive Bayes needs texts of both classes')
    this.#without = without
    const counts = [yes, no].map((texts) => {
      const count = new Map<string, number>()
      for (const text of texts)
        for (const feature of featuresOf(text, without)) count.set(feature, (count.get(feature) ?? 0) + 1)
      return count
    }) as [Map<string, number>, Map<string, number>]
    const features = new Set(counts.flatMap((count) => [...count.keys()]))
    const totals = counts.map((count) => [...count.values()].reduce((a, b) => a + b, 0) + features.size)
    for (const feature of features) {
      const [a, b] = counts.map((count, i) => Math.log(((count.get(feature) ?? 0) + 1) / totals[i]!))
      this.#weights.set(feature, a! - b!)
    }
  }

  /** Log-odds of `yes`, in nats; features that no text had count nothing. */
  score(text: string): number {
    let sum = 0
    for (const feature of featuresOf(text, this.#without)) sum += this.#weights.get(feature) ?? 0
    return sum
  }
}
