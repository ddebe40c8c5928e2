/** A training run as a JSON file: what is trained, on what, and how. Paths are relative to the file. */
import * as z from 'zod'
import { makeOptimizer } from '../optimizers/index.ts'
import { makeSchedule, type Schedule, schedules } from '../schedules.ts'

const positive = z.int().positive()

const corpus = z.strictObject({
  file: z.string().min(1).describe('.txt or .txt.gz'),
  documents: z.enum(['separator', 'line', 'file']).optional().describe('Where a document ends'),
})

export const recipeSchema = z.strictObject({
  name: z.string().min(1),
  description: z.string().optional(),
  model: z
    .union([
      z.strictObject({
        config: z.record(z.string(), z.unknown()).describe('config.json of a new model'),
        seed: z.int().nonnegative().default(1),
        deviation: z.number().positive().default(0.02).describe('Standard deviation of new matrices'),
        stack: z
          .string()
          .min(1)
          .optional()
          .describe('A shallower model of the same sizes, whose blocks are repeated to begin with'),
        widen: z
          .string()
          .min(1)
          .optional()
          .describe('A narrower model of as many layers, whose channels and heads are cloned to begin with'),
        transferVocabulary: z
          .string()
          .min(1)
          .optional()
          .describe(
            'A model of the same sizes with another tokenizer, whose embeddings are averaged to begin with',
          ),
      }),
      z.strictObject({ from: z.string().min(1).describe('A model to go on from') }),
    ])
    .describe('A new model, or one to go on from'),
  tokenizer: z.string().optional().describe('Folder of the tokenizer; that of the model by default'),
  data: z.strictObject({
    sources: z
      .array(
        z.strictObject({
          files: z.array(corpus).nonempty(),
          weight: z
            .number()
            .nonnegative()
            .optional()
            .describe('Share of the windows; of the tokens by default'),
          heldOut: z
            .number()
            .min(0)
            .max(0.5)
            .default(0)
            .describe('Share of the documents of each file, the last ones, that is measured and not learned'),
          name: z.string().min(1).describe('Of the measurement on what is held out'),
        }),
      )
      .nonempty(),
    seed: z.int().nonnegative().default(1),
  }),
  objective: z
    .looseObject({ kind: z.string() })
    .default({ kind: 'next-token' })
    .describe('Kind and options of an objective'),
  length: positive.describe('Tokens that a row predicts'),
  batch: positive.describe('Rows of a batch'),
  accumulate: positive.default(1).describe('Batches of a step'),
  steps: positive,
  optimizer: z.looseObject({ kind: z.string() }).describe('Kind, rate and options of an optimizer'),
  schedule: z
    .looseObject({ kind: z.string() })
    .default({ kind: 'constant' })
    .describe('Of the learning rate'),
  clip: z.number().positive().optional().describe('Largest norm of the gradient'),
  seed: z.int().nonnegative().default(1),
  measure: z.strictObject({
    every: positive,
    windows: positive.default(64).describe('Held-out windows of each source'),
    of: z
      .string()
      .optional()
      .describe('The source that decides which weights are best; the first by default'),
    patience: positive.optional().describe('Measurements without a better one before the run ends'),
  }),
  saveEvery: positive.default(100).describe('Steps from one saved state to the next'),
  keep: z.array(z.int().nonnegative()).default([]).describe('Steps whose weights are kept'),
  dtype: z.enum(['f32', 'f16', 'bf16']).default('f16').describe('Of the weights that are written'),
})

export type Recipe = z.output<typeof recipeSchema>

/** The optimizer of a recipe, and the learning rate of each step. */
export function learning({ optimizer: given, schedule, steps }: Recipe) {
  const { optimizer, rate } = makeOptimizer(given)
  const takesSteps = 'steps' in (schedules[schedule.kind as keyof typeof schedules]?.options.shape ?? {})
  const factor: Schedule = makeSchedule({ ...schedule, ...(takesSteps && { steps }) })
  return { optimizer, rate: (step: number) => rate * factor(step) }
}

/** Reads a recipe; unknown keys and impossible values are errors that name them. */
export function parseRecipe(json: unknown, source: string): Recipe {
  const result = recipeSchema.safeParse(json)
  if (result.success) return result.data
  throw new Error(`${source}: ${recipeProblems(result.error)}`)
}

/** What is wrong with a recipe, key by key. */
export const recipeProblems = (error: z.ZodError): string =>
  error.issues
    .map((issue) =>
      issue.code === 'unrecognized_keys'
        ? `unknown keys ${issue.keys.map((key) => `'${key}'`).join(', ')}${issue.path.length > 0 ? ` in '${issue.path.join('.')}'` : ''}`
        : `'${issue.path.join('.')}': ${issue.message}`,
    )
    .join('; ')
