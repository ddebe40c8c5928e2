/** Runs of jobs: in this process, or handed to workers over Redis. */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { openRows } from '../train/data/open.ts'
import type { Row, Rows } from '../train/data/types.ts'
import type { Outcome, Plan, Unit } from './plan.ts'
import { RedisJobs, type RedisOptions } from './redis.ts'
import { RunFolder } from './store.ts'
import { doUnit, Resources, type WorkerSettings } from './unit.ts'

export interface RunOptions extends WorkerSettings {
  readonly folder: string
  readonly resume?: boolean
  /** Jobs go to workers there; without it they are done here. */
  readonly redis?: RedisOptions | undefined
  /** Times that a job is tried. */
  readonly attempts?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
  readonly onNote?: (text: string) => void
}

export interface RunEnd {
  readonly end: 'done' | 'failed' | 'interrupted'
  readonly total: number
  readonly done: number
  /** Reasons by job. */
  readonly failed: Readonly<Record<number, string>>
  /** All outcomes, where all jobs are done. */
  readonly results?: string
}

/** Jobs in Redis at once: their rows travel with them. */
const ahead = 256
const pollMs = 200
/** Milliseconds after which jobs that should be in Redis are added again, in case it has lost them. */
const reconcileMs = 3000

export async function runJobs(plan: Plan, options: RunOptions): Promise<RunEnd> {
  const { folder: path, resume = false, signal, onProgress } = options
  const rows = await openRows(plan.data as string, signal ? { signal } : {})
  if (rows.length === 0) throw new Error(`${plan.data}: there are no rows`)
  const folder = RunFolder.open(path, plan, resume)
  const total = Math.ceil(rows.length / plan.unit)
  onProgress?.(folder.done.size, total)
  const missing = (): number[] =>
    Array.from({ length: total }, (_, index) => index).filter((index) => !folder.done.has(index))
  const failed = options.redis
    ? await overRedis(plan, rows, folder, missing, total, options)
    : await here(plan, rows, folder, missing(), total, options)
  folder.fail(failed)
  const done = folder.done.size
  if (done === total) return { end: 'done', total, done, failed, results: folder.merge(total) }
  return { end: signal?.aborted ? 'interrupted' : 'failed', total, done, failed }
}

async function unitAt(plan: Plan, rows: Rows<Row>, index: number): Promise<Unit> {
  const first = index * plan.unit
  const own: Row[] = []
  for (let i = first; i < Math.min(rows.length, first + plan.unit); i++) own.push(await rows.at(i))
  return { index, first, rows: own }
}

async function here(
  plan: Plan,
  rows: Rows<Row>,
  folder: RunFolder,
  missing: readonly number[],
  total: number,
  { attempts = 3, signal, onProgress, onNote, ...settings }: RunOptions,
): Promise<Record<number, string>> {
  const resources = new Resources(settings)
  const failed: Record<number, string> = {}
  try {
    for (const index of missing) {
      const unit = await unitAt(plan, rows, index)
      for (let attempt = 1; ; attempt++) {
        if (signal?.aborted) return failed
        try {
          folder.keep(index, await doUnit(plan, unit, resources, signal))
          break
        } catch (error) {
          if (signal?.aborted) return failed
          const { message } = error as Error
          onNote?.(`job ${index}: ${message}`)
          if (attempt < attempts) continue
          failed[index] = message
          break
        }
      }
      onProgress?.(folder.done.size, total)
    }
    return failed
  } finally {
    await resources.close()
  }
}

async function overRedis(
  plan: Plan,
  rows: Rows<Row>,
  folder: RunFolder,
  missing: () => number[],
  total: number,
  { redis, attempts = 3, signal, onProgress, onNote }: RunOptions,
): Promise<Record<number, string>> {
  // The same folder and plan are the same run, also after the coordinator was killed.
  const run = createHash('sha256')
    .update(JSON.stringify([resolve(folder.path), plan]))
    .digest('hex')
    .slice(0, 16)
  let noted = ''
  const note = (text: string): void => {
    if (text !== noted) onNote?.(text)
    noted = text
  }
  const jobs = await RedisJobs.open(redis!, run, note)
  const units = new Map<number, Unit>()
  const window = async (): Promise<Unit[]> => {
    const indices = missing().slice(0, ahead)
    for (const index of units.keys()) if (folder.done.has(index)) units.delete(index)
    for (const index of indices) if (!units.has(index)) units.set(index, await unitAt(plan, rows, index))
    return indices.map((index) => units.get(index)!)
  }
  let added = 0
  try {
    // A run that is gone on with begins anew with what had failed.
    await jobs.clear(Object.keys(await jobs.failed()).map(Number))
    for (;;) {
      const found: [number, Outcome[]][] = [...(await jobs.found())]
      for (const [index, outcomes] of found) folder.keep(index, outcomes)
      await jobs.forget(found.map(([index]) => index))
      if (found.length > 0) onProgress?.(folder.done.size, total)
      if (missing().length === 0) return {}
      const failed = await jobs.failed()
      const open = missing().filter((index) => !(index in failed))
      if (open.length === 0 || signal?.aborted) {
        if (signal?.aborted) await jobs.clear(open.slice(0, ahead))
        return failed
      }
      if (Date.now() - added > reconcileMs || found.length > 0) {
        await jobs.add(plan, await window(), attempts)
        added = Date.now()
      }
      await new Promise((done) => setTimeout(done, pollMs))
    }
  } finally {
    await jobs.close()
  }
}
