/** Control vectors: made of texts of two kinds, and measured at several strengths. */
import * as z from 'zod'
import { fitControlVector, sweep } from '../../steer/browser.ts'
import { operation, streamModel, withModel } from '../operation.ts'

const steerName = z.string().regex(/^[\w-]{1,40}$/, 'is letters, digits, - and _')
const texts = z.array(z.string().min(1)).nonempty().max(2000)

export const fit = operation({
  name: 'fit',
  input: z.strictObject({
    model: z.string(),
    name: steerName,
    positive: texts,
    negative: texts,
    kind: z.enum(['mean', 'pca']).default('mean'),
  }),
  run: (bench, { model: modelName, name, kind, positive, negative }, signal) =>
    withModel(bench, modelName, async ({ model }) => {
      const vector = await fitControlVector(model, { positive, negative }, { kind, signal })
      return {
        name,
        file: bench.steers.keep(name, vector),
        norms: [...vector.directions].map(([layer, direction]) => ({
          layer,
          norm: Math.hypot(...direction),
        })),
      }
    }),
})

export const sweepSteer = operation({
  name: 'sweep',
  input: z.strictObject({
    model: z.string(),
    steer: steerName,
    strengths: z.array(z.number()).nonempty().max(21),
    prompts: texts,
    words: z.array(z.string().min(1)).nonempty().describe('A text is on target if it has one of them'),
    samples: z.int().positive().max(16).default(4),
    maxTokens: z.int().positive().max(200).default(40),
    seed: z.int().nonnegative().default(1),
  }),
  run: (bench, { model: name, steer, strengths, prompts, words, samples, maxTokens, seed }, signal) =>
    streamModel(bench, name, async function* ({ model }) {
      const edits = bench.steers.open(steer, model)
      const wanted = words.map((word) => word.toLowerCase())
      const isTarget = (text: string): boolean => wanted.some((word) => text.toLowerCase().includes(word))
      for (const strength of strengths) {
        signal.throwIfAborted()
        const generate = { samples, maxTokens, seed, temperature: 0.8 }
        const [row] = await sweep(model, edits, {
          strengths: [strength],
          prompts,
          isTarget,
          generate,
          signal,
        })
        yield row
      }
    }),
})
