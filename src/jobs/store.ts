/**
 * The folder of a run: the plan, and a file for every job that is done. A file is written whole or not at all, and once:
 * whatever is done twice, by a worker thought dead or after a restart, counts once.
 *
 *     plan.json   units/000000.jsonl ...   failed.json   results.jsonl (at the end)
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeAtomic } from '../store/file.ts'
import type { Outcome, Plan } from './plan.ts'

const text = new TextEncoder()
const fileOf = (index: number): string => `${String(index).padStart(6, '0')}.jsonl`

export class RunFolder {
  readonly path: string
  readonly #done: Set<number>

  private constructor(path: string, done: Set<number>) {
    this.path = path
    this.#done = done
  }

  /** A new run, or one to go on with, which must be of the same plan. */
  static open(path: string, plan: Plan, resume: boolean): RunFolder {
    const units = join(path, 'units')
    const planFile = join(path, 'plan.json')
    const wanted = `${JSON.stringify(plan, null, 2)}\n`
    if (existsSync(planFile)) {
      if (!resume)
        throw new Error(
          `${path}: there is a run already; go on with it (--resume), or choose another folder (--out)`,
        )
      if (readFileSync(planFile, 'utf8') !== wanted)
        throw new Error(`${planFile}: the run there is of another plan; choose another folder (--out)`)
    } else {
      mkdirSync(units, { recursive: true })
      writeAtomic(planFile, (put) => put(text.encode(wanted)))
    }
    const done = new Set(
      readdirSync(units).flatMap((name) => {
        const [, index] = /^(\d{6,})\.jsonl$/.exec(name) ?? []
        return index === undefined ? [] : [Number(index)]
      }),
    )
    return new RunFolder(path, done)
  }

  get done(): ReadonlySet<number> {
    return this.#done
  }

  /** Keeps the outcome of a job. False: it is there already, and the first one stays. */
  keep(index: number, outcomes: readonly Outcome[]): boolean {
    if (this.#done.has(index)) return false
    const lines = outcomes.map((outcome) => `${JSON.stringify(outcome)}\n`).join('')
    writeAtomic(join(this.path, 'units', fileOf(index)), (put) => put(text.encode(lines)))
    this.#done.add(index)
    return true
  }

  /** Jobs that have failed for good, with their reasons; none removes the file. */
  fail(reasons: Readonly<Record<number, string>>): void {
    const file = join(this.path, 'failed.json')
    if (Object.keys(reasons).length === 0) rmSync(file, { force: true })
    else writeAtomic(file, (put) => put(text.encode(`${JSON.stringify(reasons, null, 2)}\n`)))
  }

  /** All outcomes in the order of the rows, as one file. Throws while jobs are missing. */
  merge(count: number): string {
    const file = join(this.path, 'results.jsonl')
    writeAtomic(file, (put) => {
      for (let index = 0; index < count; index++) {
        if (!this.#done.has(index)) throw new Error(`${this.path}: job ${index} is missing`)
        put(readFileSync(join(this.path, 'units', fileOf(index))))
      }
    })
    return file
  }
}
