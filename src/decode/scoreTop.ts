/** How likely a model finds each token of a text, beside what it finds most likely there. */
import type { Edits, Model } from '../model/index.ts'
import { logSumExp, mostLikely, type TokenLogprob } from './logits.ts'

export interface ScoredToken extends TokenLogprob {
  /** The most likely tokens in its place, best first. */
  readonly top: readonly TokenLogprob[]
}

/**
 * Every token after the first, with the `count` most likely ones in its place; nats. The text is read in one pass and
 * must fit into the context.
 */
export async function scoreTop(
  model: Model,
  ids: readonly number[],
  count: number,
  edit: Edits = {},
): Promise<ScoredToken[]> {
  if (ids.length < 2) return []
  const { logits } = await model.run([ids.slice(0, -1)], { read: ['logits'], edit })
  const data = (await logits!.load()) as Float32Array
  const { vocab } = model.spec
  const scored = ids.slice(1).map((token, i) => {
    const row = data.subarray(i * vocab, (i + 1) * vocab)
    return { token, logprob: row[token]! - logSumExp(row), top: count > 0 ? mostLikely(row, count) : [] }
  })
  logits!.dispose()
  return scored
}
