/** A steer at several strengths: how often a text is what it shall be, and what that costs. */
import { complete, type GenerateOptions, promptTokens, scoreBatch } from '../decode/index.ts'
import type { Edits, Model } from '../model/index.ts'
import { distinct, repetition } from './quality.ts'

export interface SweepOptions {
  readonly strengths: readonly number[]
  readonly prompts: readonly string[]
  /** Stands before each prompt, and is no part of what is scored. */
  readonly prefix?: string
  /** Whether a continuation is what it shall be. */
  readonly isTarget: (text: string) => boolean
  /** Samples, seed and so on; 4 samples of 40 tokens at temperature 1 by default. */
  readonly generate?: GenerateOptions
  /** Prompts that go on at once. */
  readonly batch?: number
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (done: number, total: number) => void
}

export interface SweepRow {
  readonly strength: number
  /** Share of continuations. */
  readonly target: number
  /** Of the continuations given their prompts, under the model as it is. */
  readonly perplexity: number
  /** Different pairs of tokens over all. */
  readonly distinct2: number
  /** Share of runs of four tokens that a text had before. */
  readonly repetition4: number
  /** The first continuation, to look at. */
  readonly example: string
}

/** What texts of a model are like; `judge` is the model under which they are scored. */
export interface TextQuality extends Omit<SweepRow, 'strength'> {
  readonly texts: readonly string[]
}

/** Generates with a model and measures. */
export async function measureTexts(
  model: Model,
  judge: Model,
  {
    prompts,
    prefix = '',
    isTarget,
    generate = {},
    batch = 16,
    signal,
  }: Omit<SweepOptions, 'strengths' | 'onProgress'>,
): Promise<TextQuality> {
  const texts: string[] = []
  const tokens: (readonly number[])[] = []
  let [sum, count] = [0, 0]
  for (let from = 0; from < prompts.length; from += batch) {
    signal?.throwIfAborted()
    const own = prompts.slice(from, from + batch)
    const asked = own.map((prompt) => prefix + prompt)
    // Each batch has its own stream of random numbers.
    const seed = (generate.seed ?? 0) + from
    const settings = { temperature: 1, maxTokens: 40, samples: 4, ...generate, seed }
    const completions = await complete(model, asked, settings, signal ? { signal } : {})
    const bare = completions.map(({ promptTokens: given }, i) =>
      prefix === '' ? given : promptTokens(judge, own[Math.floor(i / settings.samples)]!),
    )
    const scores = await scoreBatch(
      judge,
      completions.map(({ tokens }, i) => [...bare[i]!, ...tokens]),
    )
    for (const [i, all] of scores.entries()) {
      const scored = all.slice(bare[i]!.length - 1)
      sum -= scored.reduce((a, b) => a + b, 0)
      count += scored.length
    }
    texts.push(...completions.map(({ text }) => text))
    tokens.push(...completions.map((one) => one.tokens))
  }
  return {
    target: texts.filter(isTarget).length / texts.length,
    perplexity: Math.exp(sum / count),
    distinct2: distinct(tokens, 2),
    repetition4: repetition(tokens, 4),
    example: texts[0] ?? '',
    texts,
  }
}

/** One row a strength. `edits` of any strength must be of the same functions; a sealed model must have them. */
export async function sweep(
  model: Model,
  edits: (strength: number) => Edits,
  { strengths, onProgress, ...options }: SweepOptions,
): Promise<SweepRow[]> {
  const plain = model.edited(edits(0))
  const rows: SweepRow[] = []
  for (const strength of strengths) {
    const { texts: _, ...row } = await measureTexts(model.edited(edits(strength)), plain, options)
    rows.push({ strength, ...row })
    onProgress?.(rows.length, strengths.length)
  }
  return rows
}
