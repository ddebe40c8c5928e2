/** Options that several architectures have. */
import * as z from 'zod'

export const warmUpSteps = z
  .number()
  .min(0)
  .max(1)
  .default(0.05)
  .describe('Share of the steps over which the penalty grows from 0')

export const biasOption = z
  .enum(['geometric-median', 'mean', 'zero'])
  .default('geometric-median')
  .describe('Where b_dec begins: in the middle of the data, or at 0')

export const kOption = z.int().positive().default(32).describe('Active features of a row')

export const auxiliaryOptions = {
  auxiliary: z
    .number()
    .nonnegative()
    .default(1 / 32)
    .describe('Weight of the auxiliary loss of dead features'),
  auxiliaryK: z
    .int()
    .positive()
    .optional()
    .describe('Dead features of a row that model the error; the power of two next to half the width'),
  candidates: z
    .int()
    .positive()
    .default(512)
    .describe('Dead features that are considered in one step, longest dead first'),
}
