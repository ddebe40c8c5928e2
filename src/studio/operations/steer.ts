/** Control vectors: made of texts of two kinds, and measured at several strengths. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { fitControlVector, openSteer, sweep, writeControlVector } from '../../steer/index.ts'
import { operation, streamModel, withModel } from '../operation.ts'

const texts = z.array(z.string().min(1)).nonempty().max(2000)

export const fit = operation({
  name: 'fit',
  input: z.strictObject({
    model: z.string(),
    name: z.string().regex(/^[\w-]{1,40}$/, 'is letters, digits, - and _'),
    positive: texts,
    negative: texts,
    kind: z.enum(['mean', 'pca']).default('mean'),
  }),
  run: (bench, { model: modelName, name, kind, positive, negative }, signal) =>
    withModel(bench, modelName, async ({ model }) => {
      const vector = await fitControlVector(model, { positive, negative }, { kind, signal })
      const file = join(bench.folder, `${name}.gguf`)
      writeControlVector(file, vector)
      return {
        name,
        file,
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
    steer: z.string(),
    strengths: z.array(z.number()).nonempty().max(21),
    prompts: texts,
    words: z.array(z.string().min(1)).nonempty().describe('A text is on target if it has one of them'),
    samples: z.int().positive().max(16).default(4),
    maxTokens: z.int().positive().max(200).default(40),
    seed: z.int().nonnegative().default(1),
  }),
  run: (bench, { model: name, steer, strengths, prompts, words, samples, maxTokens, seed }, signal) =>
    streamModel(bench, name, async function* ({ model }) {
      const file = join(bench.folder, `${steer}.gguf`)
      if (!/^[\w-]+$/.test(steer) || !existsSync(file)) throw new Error(`there is no steer '${steer}' here`)
      const edits = openSteer(file, model)
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
