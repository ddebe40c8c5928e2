/**
 * Happy and sad stories: windows labelled by a lexicon, a judge that learns from other windows, and what steering does to
 * continuations at a given cost.
 *
 * The rule: the mean valence (VADER's lexicon, Hutto and Gilbert 2014) of the words of a window of 40 tokens, over the words that
 * the lexicon has; 0 where it has none. Of the windows of the first half of the training text the upper quartile is
 * `happy`, the lower `sad`; everything else has no label. The judge is naive Bayes over words and pairs of them, learned from labelled
 * windows of the second half.
 */
import { random } from '../array/index.ts'
import { complete } from '../decode/index.ts'
import { type Edits, Model } from '../model/index.ts'
import { NaiveBayes } from '../ngram/index.ts'
import type { Tokenizer } from '../text/index.ts'
import type { ExperimentContext } from './experiment.ts'
import { lossOf, windows } from './probe.ts'
import { defaultModel, stories } from './small.ts'
import { valenceLexicon } from './valence.ts'

export const styles = ['happy', 'sad'] as const
export type Style = (typeof styles)[number]

/** Tokens of a labelled window, and of a continuation. */
export const windowLength = 40
const promptLength = 24
/** What steering may cost: nats a token on held-out stories. */
export const budget = 0.1

export interface Styles {
  readonly model: Model
  /** Labelled windows of the first half of the training text, as many of each. */
  readonly learned: Readonly<Record<Style, readonly number[][]>>
  /** Labelled windows of the first half of the text held out. */
  readonly heldOut: Readonly<Record<Style, readonly number[][]>>
  /** Beginnings from the second half of the text held out, neither happy nor sad. */
  readonly prompts: readonly number[][]
  /** Windows of 64 tokens from there, on which the cost is measured. */
  readonly cost: readonly number[][]
  /** Loss of the unedited model on these. */
  readonly loss: number
  /** How often the judge agrees with the lexicon on labelled windows held out. */
  readonly agreement: number
  /** Of a text. */
  readonly judge: (text: string) => Style
}

const each = 1000
const prompted = 192
const documents = 1500

export async function openStyles(context: ExperimentContext): Promise<Styles> {
  const model = Model.open(defaultModel(), context.engine)
  const tokenizer = model.tokenizer!
  const corpus = await stories(context, tokenizer, undefined, documents)
  const valence = valenceLexicon(context)
  const cut = (tokens: Int32Array | Uint16Array, from: number, to: number, length: number): number[][] => {
    const [first, last] = [
      Math.ceil((from * tokens.length) / length),
      Math.floor((to * tokens.length) / length),
    ]
    return windows(tokens, { count: last - first, length, seed: 1, from, to })
  }
  const scored = (rows: readonly number[][]) =>
    rows.map((tokens) => ({ tokens, score: meanValence(tokenizer, valence, tokens) }))
  const first = scored(cut(corpus.learned, 0, 0.5, windowLength))
  const order = first.map(({ score }) => score).sort((a, b) => a - b)
  const [low, high] = [order[Math.floor(order.length / 4)]!, order[Math.floor((3 * order.length) / 4)]!]
  const labelled = (rows: readonly { tokens: number[]; score: number }[], most: number) => {
    const [happy, sad] = [
      rows.filter(({ score }) => score > high).map(({ tokens }) => tokens),
      rows.filter(({ score }) => score < low).map(({ tokens }) => tokens),
    ]
    const count = Math.min(most, happy.length, sad.length)
    return { happy: happy.slice(0, count), sad: sad.slice(0, count) }
  }
  const others = labelled(scored(cut(corpus.learned, 0.5, 1, windowLength)), Number.POSITIVE_INFINITY)
  const texts = (rows: readonly (readonly number[])[]): string[] =>
    rows.map((row) => tokenizer.decode([...row]))
  const bayes = new NaiveBayes(texts(others.happy), texts(others.sad))
  const judge = (text: string): Style => (bayes.score(text) > 0 ? 'happy' : 'sad')
  const heldOut = labelled(scored(cut(corpus.heldOut, 0, 0.5, windowLength)), each)
  const found = styles.flatMap((style) => texts(heldOut[style]).map((text) => Number(judge(text) === style)))
  const prompts = scored(cut(corpus.heldOut, 0.5, 1, promptLength))
    .filter(({ score }) => score >= low && score <= high)
    .slice(0, prompted)
    .map(({ tokens }) => tokens)
  const cost = cut(corpus.heldOut, 0.5, 1, 64).slice(0, 24)
  return {
    model,
    learned: labelled(first, each),
    heldOut,
    prompts,
    cost,
    loss: await lossOf(model, cost),
    agreement: found.reduce((a, b) => a + b, 0) / found.length,
    judge,
  }
}

function meanValence(tokenizer: Tokenizer, valence: ReadonlyMap<string, number>, tokens: number[]): number {
  const words =
    tokenizer
      .decode(tokens)
      .toLowerCase()
      .match(/[a-z']+/g) ?? []
  const known = words.flatMap((word) => valence.get(word) ?? [])
  return known.length === 0 ? 0 : known.reduce((a, b) => a + b, 0) / known.length
}

/** Share of continuations that the judge finds to be of a style. */
export async function rateOf(
  { model, prompts, judge }: Styles,
  style: Style,
  edit: Edits,
  seed: number,
): Promise<number> {
  const texts = await complete(
    model,
    prompts,
    { maxTokens: windowLength, temperature: 0.8, seed: random.fold(seed, 0x72617465), stopTokens: [] },
    { edit },
  )
  return texts.filter(({ text }) => judge(text) === style).length / texts.length
}

export interface Strength {
  readonly strength: number
  /** Nats a token that it costs. */
  readonly cost: number
}

/**
 * The strength that costs as much as the budget allows, to a twentieth of its logarithm to base 2, or the largest that was
 * tried, 2^16 times `start`, where that costs less. Costs are taken to grow with the strength.
 */
export async function strongest(
  { model, cost: rows, loss }: Pick<Styles, 'model' | 'cost' | 'loss'>,
  edits: (strength: number) => Edits,
  { start, budget }: { readonly start: number; readonly budget: number },
): Promise<Strength> {
  const at = async (strength: number): Promise<Strength> => {
    const cost = (await lossOf(model, rows, edits(strength))) - loss
    return { strength, cost: Number.isFinite(cost) ? cost : Number.POSITIVE_INFINITY }
  }
  let low = await at(start)
  let factor = 4
  if (low.cost > budget) {
    for (let i = 0; low.cost > budget && i < 12; i++) low = await at(low.strength / 4)
    if (low.cost > budget) throw new Error(`nothing above ${low.strength} costs less than ${budget} nats`)
  } else
    for (let i = 0; ; i++) {
      if (i === 8) return low
      const next = await at(low.strength * 4)
      if (next.cost > budget) break
      low = next
    }
  while (factor > 2 ** (1 / 20)) {
    factor = Math.sqrt(factor)
    const next = await at(low.strength * factor)
    if (next.cost <= budget) low = next
  }
  return low
}
