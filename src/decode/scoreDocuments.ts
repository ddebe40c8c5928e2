/** How well a model predicts a collection of documents: bits per byte, which models of any tokenizer share. */
import type { Model } from '../model/index.ts'
import { promptTokens } from './generate.ts'
import { longestWindow, scoreBatch, scoreTokens } from './score.ts'

export interface DocumentScore {
  /** Sum over the tokens after the first, in nats. */
  readonly loglikelihood: number
  /** Tokens that were scored. */
  readonly tokens: number
  /** UTF-8 bytes that they stand for. */
  readonly bytes: number
}

export interface CorpusScore extends DocumentScore {
  readonly documents: number
  readonly bitsPerByte: number
  /** Standard error of `bitsPerByte` over documents, as of a ratio of sums; null for a single document. */
  readonly standardError: number | null
  /** In the order given. */
  readonly each: readonly DocumentScore[]
}

export interface ScoreDocumentsOptions {
  /** Most tokens that are read at once; by default the model's context, up to 2048. */
  readonly window?: number
  readonly signal?: AbortSignal
  /** Called with the number of documents scored so far. */
  readonly onProgress?: (done: number) => void
}

/** Logits of one pass, which decide how many documents go side by side. */
const mostLogits = 2 ** 24

/**
 * Scores documents one by one, each from its own beginning: with the begin-of-text token where the model has one, and
 * otherwise without its first token. What is longer than the window is read as `scoreTokens` reads it.
 */
export async function scoreDocuments(
  model: Model,
  texts: readonly string[],
  options: ScoreDocumentsOptions = {},
): Promise<CorpusScore> {
  const { signal, onProgress, window = Math.min(model.context, longestWindow) } = options
  if (texts.length === 0) throw new Error('there are no documents to score')
  const documents = texts.map((text, index) => {
    const ids = promptTokens(model, text)
    return { index, ids, bytes: scoredBytes(model, text) }
  })
  const each: DocumentScore[] = new Array(texts.length)
  let done = 0
  const keep = (
    batch: readonly (typeof documents)[number][],
    scores: readonly (readonly number[])[],
  ): void => {
    for (const [i, { index, bytes }] of batch.entries()) {
      const row = scores[i]!
      each[index] = { loglikelihood: row.reduce((sum, score) => sum + score, 0), tokens: row.length, bytes }
    }
    done += batch.length
    onProgress?.(done)
  }
  // Of like lengths, so that there is little padding.
  const whole = documents
    .filter(({ ids }) => ids.length <= window)
    .sort((a, b) => a.ids.length - b.ids.length)
  while (whole.length > 0) {
    signal?.throwIfAborted()
    const longest = whole.at(-1)!.ids.length
    const batch = whole.splice(-Math.max(1, Math.floor(mostLogits / (longest * model.spec.vocab))))
    const rows = batch.map(({ ids }) => ids)
    keep(batch, await scoreBatch(model, rows))
  }
  for (const document of documents)
    if (document.ids.length > window)
      keep([document], [await scoreTokens(model, document.ids, { window, ...(signal && { signal }) })])
  return corpusScore(each)
}

function corpusScore(each: readonly DocumentScore[]): CorpusScore {
  const sum = (of: (score: DocumentScore) => number): number =>
    each.reduce((total, score) => total + of(score), 0)
  const [bytes, loglikelihood] = [sum((score) => score.bytes), sum((score) => score.loglikelihood)]
  if (bytes === 0) throw new Error('the documents are too short: no token of theirs comes after another')
  const bits = -loglikelihood / Math.LN2
  const bitsPerByte = bits / bytes
  const n = each.length
  const squares = sum((score) => (-score.loglikelihood / Math.LN2 - bitsPerByte * score.bytes) ** 2)
  return {
    documents: n,
    tokens: sum((score) => score.tokens),
    bytes,
    loglikelihood,
    bitsPerByte,
    standardError: n > 1 ? Math.sqrt((squares * n) / (n - 1)) / bytes : null,
    each,
  }
}

/** UTF-8 bytes of what the tokens after the first stand for: where that one is of the text, its part is given. */
export function scoredBytes({ tokenizer, path }: Pick<Model, 'tokenizer' | 'path'>, text: string): number {
  if (!tokenizer) throw new Error(`${path} has no tokenizer: there are no bytes to count`)
  const given = tokenizer.encode(text).offsets[0]?.[1] ?? 0
  return new TextEncoder().encode(text.slice(given)).length
}
