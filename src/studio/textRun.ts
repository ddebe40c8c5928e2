/** A training run on a person's own texts, as the studio offers it: with a server, and in the page alone. */
import * as z from 'zod'

/** What a person says of a run. A name is a file's name, too. */
export const textRunInput = z.strictObject({
  name: z.string().regex(/^[\w-]{1,40}$/, 'is letters, digits, - and _'),
  model: z.string(),
  texts: z.string().min(200, 'needs some 200 characters at least').max(20_000_000),
  steps: z.int().positive().max(100_000).default(100),
  rate: z.number().positive().default(0.001),
  batch: z.int().positive().max(64).default(8),
  length: z.int().min(8).max(512).default(64),
})

/** What is the same in every such run: AdamW, clipped, over a cosine, the last tenth of the texts held out. */
export const textRun = (steps: number) => ({
  clip: 1,
  heldOut: 0.1,
  schedule: { kind: 'cosine', warmup: Math.min(10, Math.floor(steps / 4)) },
  measure: { every: Math.max(1, Math.floor(steps / 10)), windows: 16 },
})
