/** What a caller can ask of generation: one schema for the library, the command line and later the server. */
import * as z from 'zod'
import type { Tokenizer } from '../text/index.ts'
import type { Rule } from './rule.ts'
import {
  dry,
  logitBias,
  minP,
  mirostat1,
  mirostat2,
  occurrencePenalty,
  repetitionPenalty,
  temperature,
  topK,
  topNSigma,
  topP,
  typical,
  xtc,
} from './rules/index.ts'

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
  typicalP: z
    .number()
    .positive()
    .max(1)
    .default(1)
    .describe('Keep the tokens nearest to the expected surprise, up to this probability'),
  topNSigma: z.number().positive().optional().describe('Keep logits this many deviations below the largest'),
  presencePenalty: z.number().default(0).describe('Taken from the logits of tokens that have been generated'),
  frequencyPenalty: z.number().default(0).describe('The same, for each time'),
  logitBias: z
    .record(z.string().regex(/^\d+$/, 'keys are token ids'), z.number())
    .optional()
    .describe('Added to the logits of tokens by id'),
  dryMultiplier: z.number().nonnegative().default(0).describe('Cost of going on with a repetition; 0 is off'),
  dryBase: z.number().min(1).default(1.75).describe('Growth of that cost with the length repeated'),
  dryAllowedLength: z.int().positive().default(2).describe('Repetitions shorter than this cost nothing'),
  dryBreakers: z
    .array(z.string().min(1))
    .default(['\n', ':', '"', '*'])
    .describe('Text over which no repetition reaches'),
  xtcProbability: z.number().min(0).max(1).default(0).describe('How often the top choices are excluded'),
  xtcThreshold: z.number().min(0).max(1).default(0.1).describe('The probability that makes a top choice'),
  mirostat: z.int().min(0).max(2).default(0).describe('1 or 2: hold the surprise of tokens near a target'),
  mirostatTau: z.number().positive().default(5).describe('That target, in bits'),
  mirostatEta: z.number().positive().default(0.1).describe('How fast it is approached'),
  samples: z.int().positive().max(1024).default(1).describe('Continuations of each prompt'),
  beams: z
    .int()
    .positive()
    .max(256)
    .default(1)
    .describe('Search for the most likely text with this many beams'),
  beamGroups: z.int().positive().default(1).describe('Groups of beams that avoid what the others say'),
  diversityPenalty: z
    .number()
    .nonnegative()
    .default(0)
    .describe('Cost of a token that another group has chosen'),
  lengthPenalty: z.number().default(1).describe('Above 0 favours long texts, below 0 short ones'),
  earlyStopping: z.boolean().default(false).describe('End the search with as many texts as beams'),
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

/** What beam search does not take, with the value that leaves it alone. */
const unlikeBeams = {
  temperature: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: undefined,
  dryMultiplier: 0,
  topK: undefined,
  topP: 1,
  minP: 0,
  typicalP: 1,
  topNSigma: undefined,
  xtcProbability: 0,
  mirostat: 0,
  samples: 1,
  logprobs: undefined,
} as const

/** Throws for options that beam search does not take, or that need it. */
export function checkBeams(options: Generation): void {
  if (options.beams === 1) {
    const lone = (['beamGroups', 'diversityPenalty', 'lengthPenalty', 'earlyStopping'] as const).find(
      (key) => options[key] !== generateSchema.shape[key].parse(undefined),
    )
    if (lone) throw new Error(`generation options: ${lone} needs beams above 1`)
    return
  }
  for (const [key, off] of Object.entries(unlikeBeams))
    if (options[key as keyof typeof unlikeBeams] !== off)
      throw new Error(
        `generation options: beam search does not take ${key} ${JSON.stringify(options[key as keyof typeof unlikeBeams])}` +
          (key === 'temperature' ? '; give temperature 0' : ''),
      )
  if (options.stop.length > 0) throw new Error('generation options: beam search does not take stop texts')
}

/** Options that sampling alone uses, and what each is when it does nothing. */
const sampling = {
  topK: undefined,
  topP: 1,
  minP: 0,
  typicalP: 1,
  topNSigma: undefined,
  xtcProbability: 0,
} as const

/**
 * The rules that options stand for, for one row: bias and penalties, temperature, then what cuts the tail, in the
 * order in which Hugging Face applies them. Throws for options that exclude each other.
 */
export function rulesOf(options: Generation, tokenizer?: Tokenizer): Rule[] {
  const rules: Rule[] = []
  const { presencePenalty: presence, frequencyPenalty: frequency, mirostat } = options
  if (options.logitBias) rules.push(logitBias(options.logitBias))
  if (options.repetitionPenalty !== 1) rules.push(repetitionPenalty(options.repetitionPenalty))
  if (presence !== 0 || frequency !== 0) rules.push(occurrencePenalty({ presence, frequency }))
  if (options.dryMultiplier > 0) {
    const { dryMultiplier: multiplier, dryBase: base, dryAllowedLength: allowedLength } = options
    rules.push(dry({ multiplier, base, allowedLength, breakers: breakersOf(options.dryBreakers, tokenizer) }))
  }
  if (mirostat !== 0) {
    const cut = Object.entries(sampling).find(([key, off]) => options[key as keyof typeof sampling] !== off)
    if (cut) throw new Error(`generation options: mirostat replaces ${cut[0]}; give one of them`)
    if (options.temperature === 0) throw new Error('generation options: mirostat needs a temperature above 0')
  }
  // Greedy decoding takes the largest logit, which the rules below never remove, but for XTC.
  if (options.temperature === 0) {
    if (options.xtcProbability > 0)
      throw new Error('generation options: xtcProbability needs a temperature above 0')
    return rules
  }
  if (options.temperature !== 1) rules.push(temperature(options.temperature))
  if (options.topNSigma !== undefined) rules.push(topNSigma(options.topNSigma))
  if (options.topK !== undefined) rules.push(topK(options.topK))
  if (options.topP < 1) rules.push(topP(options.topP))
  if (options.minP > 0) rules.push(minP(options.minP))
  if (options.typicalP < 1) rules.push(typical(options.typicalP))
  if (options.xtcProbability > 0)
    rules.push(xtc({ probability: options.xtcProbability, threshold: options.xtcThreshold }))
  const target = { tau: options.mirostatTau, eta: options.mirostatEta }
  if (mirostat === 1) rules.push(mirostat1(target))
  if (mirostat === 2) rules.push(mirostat2(target))
  return rules
}

/** Tokens that break repetitions, by tokenizer and texts: finding them means decoding the whole vocabulary. */
const knownBreakers = new WeakMap<Tokenizer, Map<string, Set<number>>>()

/** Tokens whose text has one of these in it. Without a tokenizer there is no text, and nothing breaks. */
function breakersOf(texts: readonly string[], tokenizer: Tokenizer | undefined): Set<number> {
  if (!tokenizer) return new Set()
  const key = JSON.stringify(texts)
  const known = knownBreakers.get(tokenizer) ?? new Map<string, Set<number>>()
  knownBreakers.set(tokenizer, known)
  let found = known.get(key)
  if (!found) {
    const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id)
    found = new Set(ids.filter((id) => texts.some((text) => textOf(tokenizer, id).includes(text))))
    known.set(key, found)
  }
  return found
}

/** The text of a token; none for an id that the vocabulary leaves unused. */
function textOf(tokenizer: Tokenizer, id: number): string {
  try {
    return tokenizer.decode([id])
  } catch {
    return ''
  }
}
