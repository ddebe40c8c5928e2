/** What a caller can ask of generation: one schema for the library, the command line and later the server. */
import * as z from 'zod'
import { minP, type Rule, repetitionPenalty, temperature, topK, topP } from './rules.ts'

export const generateSchema = z.strictObject({
  maxTokens: z.int().positive().default(64).describe('Most tokens to generate for a prompt'),
  temperature: z.number().nonnegative().default(0.8).describe('0 takes the most likely token at each step'),
  topK: z.int().positive().optional().describe('Keep the k most likely tokens'),
  topP: z
    .number()
    .positive()
    .max(1)
    .default(1)
    .describe('Keep the most likely tokens up to this probability'),
  minP: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe('Keep tokens with this share of the largest probability'),
  repetitionPenalty: z
    .number()
    .positive()
    .default(1)
    .describe('Above 1 discourages tokens that have occurred'),
  stop: z.array(z.string().min(1)).default([]).describe('Generation ends before this text would appear'),
  stopTokens: z
    .array(z.int().nonnegative())
    .optional()
    .describe('Tokens that end generation, instead of the end-of-text token'),
  seed: z.int().nonnegative().optional().describe('Same seed, same text; a random one by default'),
  logprobs: z
    .int()
    .nonnegative()
    .optional()
    .describe('Report the chosen token at each step with its log-probability, and the most likely ones'),
  promptLogprobs: z.boolean().default(false).describe('Report the log-probabilities of the prompt too'),
})

export type GenerateOptions = z.input<typeof generateSchema>
export type Generation = z.output<typeof generateSchema>

/** Checks options; unknown and impossible ones are errors that name the option. */
export function parseOptions(options: GenerateOptions): Generation {
  const result = generateSchema.safeParse(options)
  if (result.success) return result.data
  const issues = result.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys'
      ? `there is no option ${issue.keys.map((key) => `'${key}'`).join(', ')}; there are: ${Object.keys(generateSchema.shape).join(', ')}`
      : `${issue.path.join('.')}: ${issue.message}`,
  )
  throw new Error(`generation options: ${issues.join('; ')}`)
}

/** The rules that options stand for, in the order in which Hugging Face applies them. */
export function rulesOf(options: Generation): Rule[] {
  const rules: Rule[] = []
  if (options.repetitionPenalty !== 1) rules.push(repetitionPenalty(options.repetitionPenalty))
  // Greedy decoding takes the largest logit, which the rules below never remove.
  if (options.temperature === 0) return rules
  if (options.temperature !== 1) rules.push(temperature(options.temperature))
  if (options.topK !== undefined) rules.push(topK(options.topK))
  if (options.topP < 1) rules.push(topP(options.topP))
  if (options.minP > 0) rules.push(minP(options.minP))
  return rules
}
