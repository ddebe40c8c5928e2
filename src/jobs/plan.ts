/** What a run of jobs does: which model does what with which rows. */
import * as z from 'zod'
import type { Row } from '../train/data/types.ts'

const positive = z.int().positive()

/** A model of this machine, or `URL#NAME`: one behind an OpenAI-compatible endpoint. */
const model = z.string().min(1)

const shared = {
  model,
  data: z
    .union([z.string().min(1), z.array(z.string().min(1)).nonempty()])
    .describe('Files, or a data set of the hub'),
  unit: positive.default(16).describe('Rows of one job'),
}

export const planSchema = z.discriminatedUnion('task', [
  z.strictObject({
    task: z.literal('generate').describe("Goes on with each row's 'prompt', or answers in its 'messages'"),
    ...shared,
    maxTokens: positive.default(128),
    temperature: z.number().min(0).default(1),
    topP: z.number().gt(0).max(1).optional(),
    stop: z.array(z.string().min(1)).optional(),
    samples: positive.default(1),
    seed: z.int().nonnegative().default(0).describe('Row i has a seed made of it and i'),
    jsonSchema: z.record(z.string(), z.unknown()).optional(),
  }),
  z.strictObject({
    task: z
      .literal('score')
      .describe("The log-probability of each row's 'text', or of its 'continuation' after its 'context'"),
    ...shared,
  }),
  z.strictObject({
    task: z
      .literal('features')
      .describe("The most active features of an SAE at each token of a row's 'text'"),
    ...shared,
    sae: z.string().min(1).describe("An SAE's folder; with an endpoint its name there"),
    top: z.int().positive().max(1024).default(16),
  }),
])
export type Plan = z.output<typeof planSchema>

/** Reads a plan; what is wrong with it is an error that names it. */
export function parsePlan(given: unknown): Plan {
  const result = planSchema.safeParse(given)
  if (result.success) return result.data
  throw new Error(`jobs: ${z.prettifyError(result.error).replaceAll('\n', ' ')}`)
}

/** One job: some neighbouring rows. */
export interface Unit {
  readonly index: number
  /** Of its first row in the data. */
  readonly first: number
  readonly rows: readonly Row[]
}

/** One line of the results: the row's number in the data, and what came out. */
export interface Outcome {
  readonly row: number
  readonly [key: string]: unknown
}
