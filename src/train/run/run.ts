/** The loop around a trainer's steps: measurements, checkpoints, reports, and going on after a stop. */
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { StepReport, Steps } from '../trainer.ts'
import { drawLosses } from './curve.ts'
import { MetricsLog } from './metricsLog.ts'
import { loadState, type Progress, saveState } from './state.ts'

export interface Measurement {
  /** Lower is better; it decides which weights are the best. */
  readonly loss: number
  readonly [name: string]: number
}

export interface RunOptions {
  /** Of the run, for people. */
  readonly name: string
  /** Unit of the loss in its curve; nats by default. */
  readonly unit?: string
  /** The run's folder: its state, its metrics and what `write` puts there. */
  readonly folder: string
  readonly steps: number
  /**
   * JSON that tells this run from others; a saved state of another is refused. Its steps, schedule and measurements
   * may change: a run can be ended earlier, or go on for longer.
   */
  readonly recipe: string
  /** Go on from the state in the folder if there is one; by default that is an error. */
  readonly resume?: boolean
  /** Steps from one saved state to the next. */
  readonly saveEvery?: number
  readonly measure?:
    | {
        /** Steps from one measurement to the next; there is one before the first step and after the last. */
        readonly every: number
        readonly run: () => Promise<Measurement>
        /** Measurements that may be no better than the best before the run ends. */
        readonly patience?: number | undefined
      }
    | undefined
  /** Steps whose weights are kept. */
  readonly keep?: readonly number[]
  /** Writes the model as it is now to a folder in the run's folder. */
  readonly write: (folder: string) => void
  readonly signal?: AbortSignal | undefined
  readonly onStep?: (report: StepReport, progress: Progress) => void
  readonly onMeasure?: (measurement: Measurement, progress: Progress) => void
}

export interface RunResult {
  readonly progress: Progress
  /** Why it ended. */
  readonly end: 'done' | 'no longer better' | 'interrupted'
  /** The folder of the best weights, or of the last where nothing was measured. */
  readonly model: string | undefined
  /** The file with the curve of its losses. */
  readonly curve: string | undefined
}

export const stateFile = 'state.safetensors'

/**
 * Takes steps until there are enough, nothing gets better or the signal comes, which saves the state first. The
 * same run, stopped or killed anywhere and resumed, ends with the same bits: batches and random numbers are
 * functions of the step's number.
 */
export async function run(trainer: Steps, options: RunOptions): Promise<RunResult> {
  const { folder, steps, saveEvery = 100, measure, keep = [], write, signal } = options
  mkdirSync(folder, { recursive: true })
  const file = join(folder, stateFile)
  let progress = resumed(trainer, file, options)
  using log = new MetricsLog(folder, progress.step)
  const best = join(folder, 'best')
  const last = join(folder, 'last')
  let since = performance.now()

  const save = (): void => {
    const now = performance.now()
    progress = { ...progress, seconds: progress.seconds + (now - since) / 1000 }
    since = now
    saveState(file, trainer.state, progress, options.recipe)
  }
  const measured = async (): Promise<void> => {
    const found = await measure!.run()
    const better = progress.best === undefined || found.loss < progress.best.loss
    progress = {
      ...progress,
      best: better ? { step: progress.step, loss: found.loss } : progress.best,
      stale: better ? 0 : progress.stale + 1,
    }
    if (better) write(best)
    const named = Object.entries(found).map(([name, value]) => [`validation/${name}`, value] as const)
    log.write({ step: progress.step, ...Object.fromEntries(named) })
    options.onMeasure?.(found, progress)
  }
  const exhausted = (): boolean => measure?.patience !== undefined && progress.stale > measure.patience

  const keepStep = (): void => {
    if (keep.includes(progress.step))
      write(join(folder, 'kept', `step-${String(progress.step).padStart(7, '0')}`))
  }

  if (progress.step === 0) {
    keepStep()
    if (measure) await measured()
  }
  while (progress.step < steps && !exhausted()) {
    if (signal?.aborted) {
      save()
      return {
        progress,
        end: 'interrupted',
        model: undefined,
        curve: drawLosses(folder, options.name, options.unit),
      }
    }
    const began = performance.now()
    const report = await trainer.next()
    const seconds = (performance.now() - began) / 1000
    progress = { ...progress, step: report.step, seen: progress.seen + report.weight }
    log.write({
      step: report.step,
      loss: report.loss,
      rate: report.rate,
      gradientNorm: report.gradientNorm,
      perSecond: report.weight / seconds,
      seen: progress.seen,
      ...report.metrics,
    })
    options.onStep?.(report, progress)
    keepStep()
    if (measure && (progress.step % measure.every === 0 || progress.step === steps)) await measured()
    if (progress.step % saveEvery === 0 || progress.step === steps) save()
  }
  write(last)
  save()
  return {
    progress,
    end: exhausted() ? 'no longer better' : 'done',
    model: measure ? best : last,
    curve: drawLosses(folder, options.name, options.unit),
  }
}

/** The progress of the state in the folder, which the trainer takes on; or that of a run that begins. */
function resumed(trainer: Steps, file: string, { recipe, resume }: RunOptions): Progress {
  if (!existsSync(file)) return { step: 0, stale: 0, seen: 0, seconds: 0 }
  if (!resume)
    throw new Error(`${file}: there is a run already; resume it (--resume), or choose another folder (--out)`)
  const saved = loadState(file)
  const other = difference(saved.recipe, recipe)
  if (other) throw new Error(`${file}: is of another recipe: ${other}`)
  trainer.restore(saved.state)
  return saved.progress
}

/** What may change while a run is under way: how far it goes, and its learning rate from here on. */
const changeable = /^(steps|epochs|every|schedule|measure|saveEvery|keep)(\.|$)/

/** Where two recipes first differ in anything else, for people. */
function difference(before: string, now: string): string | undefined {
  const [a, b] = [before, now].map((text) => flatten(JSON.parse(text)))
  for (const key of new Set([...a!.keys(), ...b!.keys()]))
    if (a!.get(key) !== b!.get(key) && !changeable.test(key))
      return `'${key}' was ${a!.get(key)}, and is ${b!.get(key)} now`
  return undefined
}

function flatten(value: unknown, path = ''): Map<string, string> {
  if (typeof value !== 'object' || value === null) return new Map([[path, JSON.stringify(value)]])
  return new Map(
    Object.entries(value).flatMap(([key, child]) => [...flatten(child, path ? `${path}.${key}` : key)]),
  )
}
