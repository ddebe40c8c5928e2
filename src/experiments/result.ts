/** What an experiment leaves behind: results/ID.json, whose form is checked, and a plot beside it. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { bars } from '../plot/index.ts'
import { writeAtomic } from '../store/file.ts'
import { type Experiment, type Metrics, type Outcome, type Row, Rows, summary } from './experiment.ts'

export const resultSchema = z.strictObject({
  id: z.string(),
  paper: z.int().positive(),
  claim: z.string().min(1),
  setting: z.string().min(1),
  model: z.string().min(1),
  /** Of the trained models that it looks into: the first digits of their files' SHA-256. */
  weights: z.array(z.string().regex(/^[0-9a-f]{12}$/)).optional(),
  data: z.string().min(1),
  seeds: z.array(z.int().nonnegative()).nonempty(),
  rows: z
    .array(
      z.strictObject({
        name: z.string(),
        metric: z.string(),
        mean: z.number(),
        spread: z.number().nonnegative(),
        n: z.int().positive(),
        values: z.array(z.number()),
      }),
    )
    .nonempty(),
  baseline: z.string(),
  verdict: z.enum(['reproduced', 'partly', 'not at this scale']),
  reason: z.string().min(1),
  command: z.string(),
  /** Of computing, over all parts of the run. */
  seconds: z.number().nonnegative(),
  date: z.iso.date(),
  version: z.int().positive(),
})
export type Result = z.output<typeof resultSchema>

/** Metrics of arms and seeds as rows, in the order in which they came. */
export function rowsOf(
  found: readonly { readonly name: string; readonly seed: number; readonly metrics: Metrics }[],
): Rows {
  const columns = new Map<string, { name: string; metric: string; values: number[] }>()
  for (const { name, metrics } of found)
    for (const [metric, value] of Object.entries(metrics)) {
      if (!Number.isFinite(value)) throw new Error(`'${metric}' of '${name}' is ${value}`)
      const key = JSON.stringify([name, metric])
      const column = columns.get(key) ?? { name, metric, values: [] }
      column.values.push(value)
      columns.set(key, column)
    }
  return new Rows(
    [...columns.values()].map(
      ({ name, metric, values }): Row => ({ name, metric, ...summary(values), n: values.length, values }),
    ),
  )
}

/** What tells a model's weights from those of an earlier training. */
export const weightsOf = (folder: string): string =>
  createHash('sha256')
    .update(readFileSync(join(folder, 'model.safetensors')))
    .digest('hex')
    .slice(0, 12)

export function resultOf(
  experiment: Experiment,
  rows: Rows,
  outcome: Outcome,
  run: Pick<Result, 'seeds' | 'command' | 'seconds' | 'date' | 'weights'>,
): Result {
  const { id, paper, claim, setting, model, data, baseline, version } = experiment
  return resultSchema.parse({
    ...{ id, paper, claim, setting, model, ...(run.weights && { weights: run.weights }) },
    ...{ data, seeds: run.seeds, rows: rows.list, baseline },
    ...outcome,
    ...{ command: run.command, seconds: Math.round(run.seconds), date: run.date, version },
  })
}

/** Writes the result and its plot, each whole or not at all. */
export function writeResult(
  folder: string,
  result: Result,
  { metrics, title, plot }: Pick<Experiment, 'metrics' | 'title' | 'plot'>,
): string[] {
  mkdirSync(folder, { recursive: true })
  const metric = Object.keys(metrics)[0]!
  const files = [
    [`${result.id}.json`, `${JSON.stringify(result, null, 1)}\n`],
    [
      `${result.id}.svg`,
      plot?.(new Rows(result.rows)) ??
        bars(
          result.rows.filter((row) => row.metric === metric),
          { title, metric },
        ),
    ],
  ] as const
  return files.map(([name, text]) => {
    const path = join(folder, name)
    writeAtomic(path, (put) => put(Buffer.from(text)))
    return path
  })
}

/** The results of a folder, by id. A file that is no result is an error that names it. */
export function readResults(folder: string): Map<string, Result> {
  const results = new Map<string, Result>()
  if (!existsSync(folder)) return results
  for (const name of readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .sort()) {
    const parsed = resultSchema.safeParse(JSON.parse(readFileSync(join(folder, name), 'utf8')))
    if (!parsed.success)
      throw new Error(`${join(folder, name)}: is no result: ${z.prettifyError(parsed.error)}`)
    results.set(parsed.data.id, parsed.data)
  }
  return results
}
