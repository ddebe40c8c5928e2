/**
 * Sentence vectors of an encoder (Reimers and Gurevych 2019): the last hidden states of a text's tokens on average,
 * v = Σ mask_t h_t / Σ mask_t, or that of its first token, or what the model's own pooler makes of that.
 */
import * as z from 'zod'
import { tensor } from '../array/index.ts'
import type { Encoder } from '../model/index.ts'

export const sentenceSchema = z.strictObject({
  pooling: z
    .enum(['mean', 'first', 'pooler'])
    .default('mean')
    .describe('The tokens on average, the first one ([CLS]), or the pooler over that'),
  normalize: z.boolean().default(false).describe('Vectors of length 1, whose product is the cosine'),
  batch: z.int().positive().default(32).describe('Texts that are computed together'),
})
export type SentenceOptions = z.input<typeof sentenceSchema>

const sites = { mean: 'sentence.mean', first: 'sentence.first', pooler: 'pooled' } as const

/**
 * A vector f32 [width] for each text, in their order. Token ids are taken as they are; texts get the special tokens
 * that the tokenizer adds. A text that is longer than the model's positions is an error. Texts of similar length are
 * computed together, padded and masked: each has the vector that it has alone, up to the rounding of the products.
 */
export async function sentenceVectors(
  encoder: Encoder,
  texts: readonly (string | readonly number[])[],
  options: SentenceOptions = {},
): Promise<Float32Array[]> {
  const { pooling, normalize, batch } = sentenceSchema.parse(options)
  if (pooling === 'pooler' && !encoder.params.pooler)
    throw new Error(`${encoder.path} has no pooler: take the pooling mean or first`)
  const rows = texts.map((text, i) => idsOf(encoder, text, i))
  const order = rows.map((_, i) => i).sort((a, b) => rows[a]!.length - rows[b]!.length)
  const vectors = new Array<Float32Array>(rows.length)
  for (let start = 0; start < order.length; start += batch) {
    const chosen = order.slice(start, start + batch)
    const length = Math.max(...chosen.map((i) => rows[i]!.length))
    const padded = chosen.map((i) => [...rows[i]!, ...new Array<number>(length - rows[i]!.length).fill(0)])
    const mask = Int32Array.from(chosen.flatMap((i) => padded[0]!.map((_, t) => Number(t < rows[i]!.length))))
    const site = sites[pooling]
    const reads = await encoder.run(padded, { mask: tensor(mask, [chosen.length, length]), read: [site] })
    const data = (await reads[site]!.load()) as Float32Array
    const { width } = encoder.spec
    for (const [row, i] of chosen.entries()) {
      const vector = data.slice(row * width, (row + 1) * width)
      vectors[i] = normalize ? unit(vector) : vector
    }
    reads[site]!.dispose()
  }
  return vectors
}

function idsOf(
  { tokenizer, path, context }: Encoder,
  text: string | readonly number[],
  index: number,
): readonly number[] {
  if (typeof text === 'string' && !tokenizer)
    throw new Error(`${path} has no tokenizer: give token ids instead of text`)
  const ids = typeof text === 'string' ? tokenizer!.encode(text).ids : text
  if (ids.length === 0) throw new Error(`text ${index} has no tokens`)
  if (ids.length > context)
    throw new RangeError(`text ${index} has ${ids.length} tokens, but the model has ${context} positions`)
  return ids
}

/** The same direction, with length 1; a vector of zeros stays one. */
function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))
  return length === 0 ? vector : vector.map((x) => x / length)
}
