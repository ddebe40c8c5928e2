/**
 * How likely a model finds given tokens: log-probabilities in nats of every token after the first. Three ways
 * that agree up to float32 rounding: whole, in a batch, and token by token through the cache.
 */
import { tensor } from '../array/index.ts'
import type { Model } from '../model/index.ts'
import { logSumExp } from './logits.ts'

/** Memory grows with the square of a window, and with the window times the vocabulary. */
export const longestWindow = 2048

export interface ScoreContext {
  /** Most tokens that are read at once; by default the model's context, up to 2048. */
  readonly window?: number
  readonly signal?: AbortSignal
  /** Called with the number of tokens scored so far, after each pass. */
  readonly onProgress?: (done: number) => void
}

/**
 * Scores tokens of any number. What is longer than the window is read in windows that begin half of one apart,
 * and each token is scored once, by the first window that holds it: it sees all tokens before it where these
 * fit, and otherwise at least half a window before it.
 */
export async function scoreTokens(
  model: Model,
  ids: readonly number[],
  options: ScoreContext = {},
): Promise<number[]> {
  const { signal, onProgress, window = Math.min(model.context, longestWindow) } = options
  if (window < 2) throw new RangeError(`in a window of ${window} no token comes after another`)
  // A single token has no score, but it must be one.
  if (ids.length < 2) model.rows([ids])
  const stride = Math.floor(window / 2)
  const scores: number[] = []
  for (let start = 0; scores.length < ids.length - 1; start += stride) {
    signal?.throwIfAborted()
    const [row] = await scoreBatch(model, [ids.slice(start, start + window)])
    // Score i of this window is that of token start + i + 1.
    for (const score of row!.slice(scores.length - start)) scores.push(score)
    onProgress?.(scores.length)
  }
  return scores
}

/** Scores rows of any lengths up to the context in one pass: causal attention does not see the padding. */
export async function scoreBatch(model: Model, rows: readonly (readonly number[])[]): Promise<number[][]> {
  const width = Math.max(0, ...rows.map((row) => row.length))
  if (width < 2) return rows.map(() => [])
  const scores = await model.score(
    rows.map((row) => [...row, ...new Array<number>(width - row.length).fill(0)]),
  )
  const data = (await scores.load()) as Float32Array
  const result = rows.map((row, i) => {
    const from = i * (width - 1)
    return Array.from(data.subarray(from, from + Math.max(0, row.length - 1)))
  })
  scores.dispose()
  return result
}

/** Scores tokens as generation meets them: one by one through the cache. Slow; it checks the other ways. */
export async function scoreStepwise(model: Model, ids: readonly number[]): Promise<number[]> {
  const scores: number[] = []
  if (ids.length < 2) return scores
  let cache = model.newCache(1, ids.length)
  for (let i = 0; i + 1 < ids.length; i++) {
    const step = await model.step({
      tokens: model.rows([[ids[i]!]]),
      cache,
      lengths: tensor(Int32Array.of(i)),
      at: tensor(Int32Array.of(0)),
    })
    cache = step.cache
    const logits = (await step.logits.load()) as Float32Array
    scores.push(logits[ids[i + 1]!]! - logSumExp(logits))
    step.logits.dispose()
  }
  return scores
}
