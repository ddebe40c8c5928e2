/** Runs an experiment: arm after arm, seed after seed, going on where an earlier run stopped. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Engine } from '../onnx/index.ts'
import { writeAtomic } from '../store/file.ts'
import type { Experiment, Metrics } from './experiment.ts'
import { type Result, resultOf, rowsOf, weightsOf, writeResult } from './result.ts'

export interface ReproduceOptions {
  readonly engine: Engine
  readonly seeds?: readonly number[] | undefined
  /** The folder of data sets. */
  readonly data: string
  /** Where results go. */
  readonly out: string
  /** What arms have given is kept here. */
  readonly runs: string
  readonly command: string
  /** Measure everything anew. */
  readonly fresh?: boolean
  readonly note?: (text: string) => void
  readonly signal?: AbortSignal | undefined
}

interface Kept {
  readonly metrics: Metrics
  readonly seconds: number
}

export async function reproduce(
  experiment: Experiment,
  options: ReproduceOptions,
): Promise<{ result: Result; files: string[] }> {
  const { engine, data, out, runs, command, fresh = false, note = () => undefined, signal } = options
  const seeds = options.seeds ?? experiment.seeds
  const folder = join(runs, experiment.id)
  mkdirSync(folder, { recursive: true })
  const weights = experiment.models?.map(weightsOf)
  const key = [`v${experiment.version}`, ...(weights ?? [])].join('.')
  const found: { name: string; seed: number; metrics: Metrics }[] = []
  let seconds = 0
  /** Which arm each file is of. */
  const owners = new Map<string, string>()
  await experiment.run({
    engine,
    seeds,
    signal,
    note,
    data(path) {
      const file = resolve(data, path)
      if (!existsSync(file))
        throw new Error(
          `${file}: is missing; the experiment reads it. Give the folder of data sets: --data FOLDER`,
        )
      return file
    },
    async arm(name, seed, run) {
      signal?.throwIfAborted()
      const file = join(folder, `${name.replace(/[^\w.-]+/g, '_')}.${seed}.${key}.json`)
      const owner = owners.get(file) ?? name
      if (owner !== name)
        throw new Error(
          `the arms '${owner}' and '${name}' of ${experiment.id} have one file, ${file}: rename one`,
        )
      owners.set(file, name)
      let kept: Kept
      if (!fresh && existsSync(file)) kept = JSON.parse(readFileSync(file, 'utf8')) as Kept
      else {
        note(`${name}, seed ${seed} ...`)
        const began = performance.now()
        const metrics = await run()
        kept = { metrics, seconds: (performance.now() - began) / 1000 }
        writeAtomic(file, (put) => put(Buffer.from(`${JSON.stringify(kept)}\n`)))
        note(
          `${name}, seed ${seed}: ${Object.entries(metrics)
            .map(([metric, value]) => `${metric} ${Number(value.toPrecision(5))}`)
            .join(', ')} (${kept.seconds.toFixed(0)} s)`,
        )
      }
      seconds += kept.seconds
      found.push({ name, seed, metrics: kept.metrics })
      return kept.metrics
    },
  })
  const rows = rowsOf(found)
  const result = resultOf(experiment, rows, experiment.judge(rows), {
    seeds: [...seeds] as [number, ...number[]],
    ...(weights && { weights }),
    command,
    seconds,
    date: new Date().toISOString().slice(0, 10),
  })
  return { result, files: writeResult(out, result, experiment) }
}
