/** How well a model predicts texts, independent of its tokenizer. */
import type { Model } from '../../src/model/index.ts'

/**
 * -log2 p(text) / bytes, over all texts. Every token after the begin token counts once: in the first window of a
 * text, or in a later one with at least half the context before it. Windows never exceed the model's context.
 */
export async function bitsPerByte(model: Model, texts: readonly string[]): Promise<number> {
  const { tokenizer, context } = model
  if (!tokenizer) throw new Error('bits per byte need a tokenizer')
  const half = context >> 1
  let nats = 0
  let bytes = 0
  for (const text of texts) {
    const { ids } = tokenizer.encode(text)
    bytes += Buffer.byteLength(text)
    let scored = 1
    for (let start = 0; scored < ids.length; start += half) {
      const window = ids.slice(start, start + context)
      const scores = (await model.score([window])).data as Float32Array
      for (; scored < start + window.length; scored++) nats -= scores[scored - start - 1]!
    }
  }
  return nats / Math.LN2 / bytes
}
