/** What features of an SAE are said to be, and how well that held: reading the JSON of it, and searching. */
import * as z from 'zod'
import { FileError } from '../../../store/source.ts'
import { slots } from './rule.ts'

const share = z.number().min(0).max(1)
const explanationSchema = z.strictObject({
  feature: z.int().nonnegative(),
  /** Share of the tokens on which it is active. */
  density: share,
  explanation: z.string().optional(),
  rule: z
    .strictObject({
      clauses: z
        .array(
          z.strictObject({
            slot: z.enum(slots),
            values: z.array(z.strictObject({ token: z.int().nonnegative(), share, base: share })).readonly(),
          }),
        )
        .readonly(),
      threshold: z.number(),
      density: share,
    })
    .optional(),
  top: z.array(z.strictObject({ activation: z.number(), text: z.string() })),
  /** On text that the explanation was not made from; none where the feature is too rare there. */
  scores: z
    .strictObject({
      detection: share,
      detection_accuracy: share,
      fuzzing: share,
      fuzzing_accuracy: share,
      simulation: z.number(),
    })
    .optional(),
})
const fileSchema = z.strictObject({
  kind: z.literal('glossa explanations 1'),
  model: z.string(),
  /** What wrote the explanations. */
  explainer: z.string(),
  explainedOn: z.int().positive().describe('Tokens'),
  scoredOn: z.int().positive().describe('Tokens'),
  features: z.array(explanationSchema),
})

export type Explanation = z.output<typeof explanationSchema>
export type Explanations = z.output<typeof fileSchema>

/** Of a file's text; `path` is for messages. FileError for what explanations do not have. */
export function parseExplanations(text: string, path: string): Explanations {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new FileError(path, 0, `not JSON: ${(error as Error).message}`, 'Write it anew: glossa sae explain')
  }
  const read = fileSchema.safeParse(json)
  if (read.success) return read.data
  const [problem] = read.error.issues
  throw new FileError(
    path,
    0,
    `${problem?.path.join('.') ?? ''}: ${problem?.message ?? 'no explanations'}`,
    'Write it anew: glossa sae explain',
  )
}

/**
 * Features whose explanation or contexts have all words, whatever their case: first where the explanation has them, then
 * by detection score.
 */
export function searchExplanations(
  { features }: Pick<Explanations, 'features'>,
  words: string,
): Explanation[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean)
  const rank = ({ explanation = '', top }: Explanation): number => {
    const [own, all] = [explanation, [explanation, ...top.map(({ text }) => text)].join(' ')].map((text) =>
      text.toLowerCase(),
    ) as [string, string]
    return wanted.every((word) => own.includes(word)) ? 2 : wanted.every((word) => all.includes(word)) ? 1 : 0
  }
  const score = ({ scores }: Explanation): number => scores?.detection ?? 0
  return features
    .filter((one) => rank(one) > 0)
    .sort((a, b) => rank(b) - rank(a) || score(b) - score(a) || a.feature - b.feature)
}
