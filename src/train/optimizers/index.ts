/** Optimizers by name. */
import * as z from 'zod'
import type { Optimizer } from '../optimizer.ts'
import { adamw } from './adamw.ts'
import { muon } from './muon.ts'

const beta = z.number().min(0).max(1)
const adamOptions = {
  beta1: beta.default(0.9),
  beta2: beta.default(0.95),
  epsilon: z.number().positive().default(1e-8),
}
const weightDecay = z.number().nonnegative().default(0)

export const optimizerSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('adamw'), ...adamOptions, weightDecay }),
  z.strictObject({
    kind: z.literal('muon'),
    momentum: beta.default(0.95),
    others: z.strictObject(adamOptions).prefault({}),
    weightDecay,
  }),
])
export type OptimizerOptions = z.output<typeof optimizerSchema>

export const makeOptimizer = ({ kind, ...options }: OptimizerOptions): Optimizer<unknown> =>
  (kind === 'adamw' ? adamw(options) : muon(options)) as Optimizer<unknown>
