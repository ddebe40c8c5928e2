/** The beginning of a corpus as tokens, for what is fitted to a model. */
import type { Model } from '../model/index.ts'
import { openRows, skip, take, tokenizeCorpus } from '../train/data/index.ts'
import { Progress } from './terminal.ts'

const block = 64

/** The first tokens of a corpus, no more of it being read. */
export async function corpusTokens(
  { tokenizer, path }: Model,
  corpus: string,
  count: number,
  signal: AbortSignal,
): Promise<Int32Array> {
  if (!tokenizer) throw new Error(`${path} has no tokenizer, which --fit needs`)
  const rows = await openRows(corpus, { signal })
  const progress = new Progress('reading token', count)
  const ids: number[] = []
  for (let from = 0; from < rows.length && ids.length < count; from += block) {
    const { tokens } = await tokenizeCorpus(take(skip(rows, from), block), tokenizer, { signal })
    for (const id of tokens) ids.push(id)
    progress.update(Math.min(ids.length, count))
  }
  return Int32Array.from(ids.slice(0, count))
}
