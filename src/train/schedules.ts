/** Learning rates over the steps of a run, as shares of the highest one. */
import * as z from 'zod'

/** The share of the highest rate at a step, counted from 0, of `steps`. */
export type Schedule = (step: number, steps: number) => number

const warmup = z.int().nonnegative().default(0).describe('Steps over which the rate rises from 0')

export const scheduleSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant'), warmup }),
  z.strictObject({ kind: z.literal('linear'), warmup, floor: z.number().min(0).max(1).default(0) }),
  z.strictObject({ kind: z.literal('cosine'), warmup, floor: z.number().min(0).max(1).default(0) }),
  z.strictObject({
    kind: z.literal('wsd'),
    warmup,
    decay: z.int().positive().describe('Last steps, over which the rate falls'),
    shape: z.enum(['linear', 'sqrt']).default('sqrt').describe('1 - x, or 1 - √x'),
    floor: z.number().min(0).max(1).default(0),
  }),
  z.strictObject({ kind: z.literal('inverse-sqrt'), warmup: z.int().positive() }),
])
export type ScheduleOptions = z.output<typeof scheduleSchema>

/** Linear up to 1 at step `warmup`; the first step already learns. */
const rise = (step: number, warmup: number): number => Math.min(1, (step + 1) / (warmup + 1))

export function schedule(options: ScheduleOptions): Schedule {
  const { kind, warmup } = options
  if (kind === 'constant') return (step) => rise(step, warmup)
  if (kind === 'inverse-sqrt') return (step) => Math.min(rise(step, warmup), Math.sqrt(warmup / (step + 1)))
  const { floor } = options
  const above = (share: number): number => floor + (1 - floor) * share
  if (kind === 'wsd') {
    const { decay, shape } = options
    // Hu et al. 2024 (MiniCPM); 1 - √x: Hägele et al. 2024.
    return (step, steps) => {
      const x = Math.min(1, Math.max(0, (step - (steps - decay)) / decay))
      return rise(step, warmup) * above(1 - (shape === 'sqrt' ? Math.sqrt(x) : x))
    }
  }
  return (step, steps) => {
    const x = Math.min(1, Math.max(0, (step - warmup) / Math.max(1, steps - warmup)))
    return rise(step, warmup) * above(kind === 'linear' ? 1 - x : 0.5 * (1 + Math.cos(Math.PI * x)))
  }
}
