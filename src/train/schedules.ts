/**
 * Learning rates over time: functions from the number of steps taken to a factor of the rate.
 *
 * Warm-up is linear and its first step is not lost: (step + 1) / warmup, 1 at the last of its steps. What decays
 * begins at 1 in the step after, reaches its floor at `steps`, and stays there.
 */
import * as z from 'zod'
import { chooseKind, readOptions } from './choice.ts'

/** The factor of the learning rate after `step` steps (0 in the first). */
export type Schedule = (step: number) => number

const count = z.int().nonnegative()
const warmup = count.default(0).describe('Steps of warm-up')
const steps = z.int().positive().describe('Steps of the whole run')
const floor = z.number().min(0).max(1).default(0).describe('The factor at the end')

const constantSchema = z.strictObject({ warmup })
const linearSchema = z.strictObject({ warmup, steps, floor })
const cosineSchema = z.strictObject({ warmup, steps, floor })
const wsdSchema = z.strictObject({
  warmup,
  steps,
  decay: z.int().positive().describe('Steps of decay at the end'),
  shape: z.enum(['linear', '1-sqrt']).default('linear').describe('How it decays'),
  floor,
})
const inverseSqrtSchema = z.strictObject({
  warmup,
  timescale: z.int().positive().optional().describe('Steps in which the factor falls to 0.71; as warm-up'),
})

const warm = (step: number, warmup: number): number => (step + 1) / warmup

/** Warm-up, then `shape` of the share of [warmup, steps] that has passed. */
function decaying(
  { warmup, steps, floor }: z.output<typeof linearSchema>,
  shape: (share: number) => number,
): Schedule {
  if (warmup >= steps) throw new Error(`schedule: ${warmup} steps of warm-up do not fit into ${steps} steps`)
  return (step) => {
    if (step < warmup) return warm(step, warmup)
    return floor + (1 - floor) * shape(Math.min(1, (step - warmup) / (steps - warmup)))
  }
}

export const schedules = {
  /** 1 after the warm-up. */
  constant: {
    options: constantSchema,
    make:
      ({ warmup }: z.output<typeof constantSchema>): Schedule =>
      (step) =>
        step < warmup ? warm(step, warmup) : 1,
  },
  /** A straight line to the floor. */
  linear: {
    options: linearSchema,
    make: (options: z.output<typeof linearSchema>) => decaying(options, (share) => 1 - share),
  },
  /** Half a period of the cosine (Loshchilov and Hutter 2017), without restarts. */
  cosine: {
    options: cosineSchema,
    make: (options: z.output<typeof cosineSchema>) =>
      decaying(options, (share) => (1 + Math.cos(Math.PI * share)) / 2),
  },
  /** Warm-up, stable, decay (Hu et al. 2024); '1-sqrt' is the shape of Hägele et al. 2024. */
  wsd: {
    options: wsdSchema,
    make({ warmup, steps, decay, shape, floor }: z.output<typeof wsdSchema>): Schedule {
      const start = steps - decay
      if (start < warmup)
        throw new Error(`schedule: ${warmup} steps of warm-up and ${decay} of decay do not fit into ${steps}`)
      return (step) => {
        if (step < warmup) return warm(step, warmup)
        const share = Math.min(1, Math.max(0, (step - start) / decay))
        return floor + (1 - floor) * (1 - (shape === 'linear' ? share : Math.sqrt(share)))
      }
    },
  },
  /** √(timescale / (steps since warm-up + timescale)); with timescale = warmup that of Vaswani et al. 2017. */
  'inverse-sqrt': {
    options: inverseSqrtSchema,
    make({ warmup, timescale = Math.max(1, warmup) }: z.output<typeof inverseSqrtSchema>): Schedule {
      return (step) =>
        step < warmup ? warm(step, warmup) : Math.sqrt(timescale / (step + 1 - warmup + timescale))
    },
  },
} as const

export type ScheduleKind = keyof typeof schedules

/** A recipe as it stands in JSON: `{ "kind": "cosine", "warmup": 100, "steps": 5000, "floor": 0.1 }`. */
export type ScheduleRecipe = {
  [K in ScheduleKind]: { kind: K } & z.input<(typeof schedules)[K]['options']>
}[ScheduleKind]

/** The schedule of a recipe. Unknown kinds and options are errors that name the choices. */
export function makeSchedule(recipe: ScheduleRecipe | object): Schedule {
  const { kind, rest } = chooseKind(schedules, recipe, 'schedule')
  const { options, make } = schedules[kind]
  return make(readOptions(options, rest, `schedule '${kind}'`) as never)
}
