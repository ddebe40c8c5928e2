/** How well a vocabulary fits a text. */
import type { Tokenizer } from './tokenizer.ts'

export interface TokenizerMeasures {
  readonly vocabSize: number
  readonly tokens: number
  readonly bytesPerToken: number
  /** Tokens that a word is cut into on average; a word is a run of letters, marks and digits. */
  readonly fertility: number
  /** Share of the words that one token covers; the others are continued (Rust et al. 2021). */
  readonly wholeWords: number
  /** Share of the tokens that stand for text they do not know. */
  readonly unknown: number
  /** See `renyiEfficiency`. */
  readonly renyiEfficiency: number
  /** Share of the vocabulary that occurs in the text. */
  readonly vocabularyUse: number
}

const word = /[\p{L}\p{M}\p{N}]+/gu

/**
 * Measures a tokenizer on texts, without the special tokens that it adds. Special tokens that are spelled out in a
 * text are read as text. Shares of nothing are NaN.
 */
export class TokenizerMeter {
  readonly #tokenizer: Tokenizer
  readonly #counts: Float64Array
  #bytes = 0
  #tokens = 0
  #words = 0
  #whole = 0
  #parts = 0

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
    this.#counts = new Float64Array(tokenizer.vocabSize)
  }

  add(text: string): void {
    const { ids, offsets } = this.#tokenizer.encode(text, {
      addSpecialTokens: false,
      parseSpecialTokens: false,
    })
    this.#bytes += Buffer.byteLength(text)
    this.#tokens += ids.length
    for (const id of ids) this.#counts[id]!++
    let token = 0
    for (const match of text.matchAll(word)) {
      const [start, end] = [match.index, match.index + match[0].length]
      while (token < offsets.length && offsets[token]![1] <= start) token++
      let parts = 0
      // A token may reach into the next word, so it is not passed.
      for (let i = token; i < offsets.length && offsets[i]![0] < end; i++) parts++
      this.#words++
      this.#parts += parts
      if (parts === 1) this.#whole++
    }
  }

  get result(): TokenizerMeasures {
    const { vocabSize, unk } = this.#tokenizer
    return {
      vocabSize,
      tokens: this.#tokens,
      bytesPerToken: this.#bytes / this.#tokens,
      fertility: this.#parts / this.#words,
      wholeWords: this.#whole / this.#words,
      unknown: (unk === undefined ? 0 : this.#counts[unk]!) / this.#tokens,
      renyiEfficiency: renyiEfficiency(this.#counts),
      vocabularyUse: this.#counts.reduce((used, count) => used + Number(count > 0), 0) / vocabSize,
    }
  }
}

/**
 * How evenly tokens are used: Rényi's entropy of their frequencies p as a share of the largest possible,
 *
 *   log(sum of p^alpha) / (1 - alpha) / log(number of different tokens)
 *
 * Zouhar et al. 2023, https://arxiv.org/abs/2306.16842, where alpha 2.5 goes best with the quality of translations.
 * As in the authors' package the tokens that do occur are counted, not the vocabulary. NaN for fewer than two.
 */
export function renyiEfficiency(counts: ArrayLike<number>, alpha = 2.5): number {
  const used = Array.from(counts).filter((count) => count > 0)
  const total = used.reduce((sum, count) => sum + count, 0)
  const power = used.reduce((sum, count) => sum + (count / total) ** alpha, 0)
  return used.length < 2 ? Number.NaN : Math.log(power) / (1 - alpha) / Math.log(used.length)
}
