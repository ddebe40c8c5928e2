/** What all trainers can be asked for: one schema for the library and the command line. */
import * as z from 'zod'

export const trainingSchema = z.strictObject({
  vocabSize: z
    .int()
    .positive()
    .default(8192)
    .describe('Tokens of the vocabulary, special tokens included; fewer where the text gives no more'),
  specialTokens: z
    .array(z.string().min(1))
    .describe('Tokens that are never made of text; they get the first ids, in this order'),
  begin: z.string().min(1).optional().describe('Special token before every text'),
  end: z.string().min(1).optional().describe('Special token after every text'),
  digits: z.boolean().default(false).describe('Every digit is a token of its own'),
})

/** How far training is. */
export interface TrainingProgress {
  /** What is being done: merging pairs, pruning pieces ... */
  readonly step: string
  readonly done: number
  readonly total: number
}

export interface TrainingHooks {
  readonly onProgress?: (progress: TrainingProgress) => void
}

/** Checks what a schema cannot: names that come twice, or that are used without being there. */
export function checkSpecialTokens(options: {
  readonly specialTokens: readonly string[]
  readonly begin?: string | undefined
  readonly end?: string | undefined
  readonly unknown?: string
}): void {
  const { specialTokens, begin, end, unknown } = options
  const twice = specialTokens.find((token, i) => specialTokens.indexOf(token) !== i)
  if (twice !== undefined) throw new RangeError(`specialTokens has ${JSON.stringify(twice)} twice`)
  for (const [name, token] of Object.entries({ begin, end, unknown }))
    if (token !== undefined && !specialTokens.includes(token))
      throw new RangeError(`${name} ${JSON.stringify(token)} is not one of specialTokens`)
}

/** A special token that is spelled as a piece of text is: in one vocabulary they would be the same token. */
export function checkSpelling(specialTokens: readonly string[], isPiece: (token: string) => boolean): void {
  const found = specialTokens.find(isPiece)
  if (found !== undefined)
    throw new RangeError(`special token ${JSON.stringify(found)} is spelled as tokens of text are`)
}

/** A vocabulary that has no room for what it must have. */
export function checkRoom(vocabSize: number, required: number, what: string): void {
  if (vocabSize < required)
    throw new RangeError(`vocabSize ${vocabSize} is too small: ${what} are ${required} tokens already`)
}
