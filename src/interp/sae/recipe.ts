/** SAEs of a training run as a JSON file: which, on what model and text, and how. Paths are relative to the file. */
import * as z from 'zod'
import { recipeProblems } from '../../train/run/recipe.ts'

const positive = z.int().positive()
const site = z.string().min(1)
const kind = z.looseObject({ kind: z.string() })

export const saeSpecSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[\w-]+$/)
    .optional()
    .describe('Folder of this SAE; made of its architecture and site where there is none'),
  site: z
    .union([site, z.array(site).nonempty()])
    .describe('A tap that it reads; several, and one SAE learns what they have in common'),
  siteOut: site.optional().describe('A tap that it gives: a transcoder'),
  architecture: kind
    .default({ kind: 'topk' })
    .describe('Kind and options: standard, p-annealing, gated, topk, batchtopk, jumprelu, scar'),
  expansion: positive.default(16).describe('Features, as a multiple of the width that is read'),
  features: positive.optional().describe('Features, instead of a multiple'),
  seed: z.int().nonnegative().default(1).describe('Of its first directions'),
  optimizer: kind.optional().describe('Instead of the optimizer of all'),
  deadAfter: positive
    .optional()
    .describe('Tokens without it after which a feature is dead; a tenth of the run, at most 10 million'),
})

export const saeRecipeSchema = z.strictObject({
  name: z.string().min(1),
  description: z.string().optional(),
  model: z.string().min(1).describe('Folder of the model'),
  data: z.strictObject({
    files: z
      .array(
        z.strictObject({
          file: z.string().min(1).describe('.txt or .txt.gz'),
          documents: z.enum(['separator', 'line', 'file']).optional().describe('Where a document ends'),
        }),
      )
      .nonempty(),
    heldOut: z
      .number()
      .positive()
      .max(0.5)
      .default(0.02)
      .describe('Share of the documents of each file, the last ones, on which SAEs are evaluated'),
    seed: z.int().nonnegative().default(1).describe('Of the order of windows and rows'),
  }),
  saes: z.array(saeSpecSchema).nonempty(),
  length: positive.default(128).describe('Tokens of a window'),
  windows: positive.default(16).describe('Windows of one forward pass'),
  begin: z
    .boolean()
    .default(true)
    .describe("Whether windows begin with the tokenizer's begin token, if it has one"),
  exclude: z
    .enum(['special', 'none'])
    .default('special')
    .describe('Tokens whose activations are left out: those that begin, end and pad texts, or none'),
  buffer: positive.default(65536).describe('Rows of activations that are shuffled together'),
  batch: positive.default(2048).describe('Rows of a step'),
  tokens: positive.default(2_000_000).describe('Rows in all: what each SAE learns from'),
  normalize: z.boolean().default(true).describe('Whether activations are scaled to a mean norm of √width'),
  optimizer: kind.default({ kind: 'adamw', rate: 0.001 }).describe('Kind, rate and options of an optimizer'),
  warmup: z
    .number()
    .min(0)
    .max(1)
    .default(0.05)
    .describe('Share of the steps in which the rate grows from 0'),
  decay: z
    .number()
    .min(0)
    .max(1)
    .default(0.3)
    .describe('Share of the steps, the last, in which it falls to 0'),
  clip: z.number().positive().optional().describe('Largest norm of the gradient'),
  saveEvery: positive.default(500).describe('Steps from one saved state to the next'),
  dtype: z.enum(['f32', 'f16']).default('f32').describe('Of the weights in SAELens folders'),
  evaluate: positive.default(32768).describe('Held-out tokens on which SAEs are evaluated'),
})

export type SaeRecipe = z.output<typeof saeRecipeSchema>
export type SaeSpec = z.output<typeof saeSpecSchema>

/** Reads a recipe; unknown keys and impossible values are errors that name them. */
export function parseSaeRecipe(json: unknown, source: string): SaeRecipe {
  const result = saeRecipeSchema.safeParse(json)
  if (result.success) return result.data
  throw new Error(`${source}: ${recipeProblems(result.error)}`)
}
