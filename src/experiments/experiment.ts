/**
 * An experiment: what a paper claims, and a measurement of it here. One file each; its name is its id.
 *
 * Arms (the method, the baseline, ablations) are run with several seeds under the same budget. What an arm gives for a
 * seed is kept in the run's folder, so that an experiment that was stopped goes on with the next.
 */
import type { Engine } from '../onnx/index.ts'

export type Verdict = 'reproduced' | 'partly' | 'not at this scale'

/** Numbers by name of the metric. */
export type Metrics = Readonly<Record<string, number>>

export interface ExperimentContext {
  readonly engine: Engine
  readonly seeds: readonly number[]
  /** The path of a data file, by its place in the folder of data sets; an error that names it where it is missing. */
  readonly data: (path: string) => string
  /**
   * One arm with one seed: `run` is called unless its metrics are known from before. The key of what is kept holds
   * the experiment's version and the weights of its models.
   */
  readonly arm: (name: string, seed: number, run: () => Promise<Metrics>) => Promise<Metrics>
  /** What is going on, for people. */
  readonly note: (text: string) => void
  readonly signal?: AbortSignal | undefined
}

export interface Row {
  /** Of the arm. */
  readonly name: string
  readonly metric: string
  readonly mean: number
  /** Sample standard deviation over the seeds; 0 where there is one value. */
  readonly spread: number
  readonly n: number
  readonly values: readonly number[]
}

export interface Outcome {
  readonly verdict: Verdict
  /** Why, with the numbers that decided. */
  readonly reason: string
}

export interface Experiment {
  readonly id: string
  readonly paper: number
  readonly title: string
  /** What the paper says, in our words. */
  readonly claim: string
  /** How it is measured here, and what differs from the paper. */
  readonly setting: string
  readonly model: string
  /** Folders of the trained models that it looks into: what was measured is of these weights. */
  readonly models?: readonly string[]
  readonly data: string
  /** The arm that the others are compared with. */
  readonly baseline: string
  /** Whether lower is better, by metric; the first is the one that is plotted. */
  readonly metrics: Readonly<Record<string, { readonly better: 'lower' | 'higher'; readonly unit?: string }>>
  /** Changed whenever an arm would give other numbers: what was kept before is measured anew. */
  readonly version: number
  readonly seeds: readonly number[]
  run(context: ExperimentContext): Promise<void>
  /** The plot as SVG, where it is not the bars of the first metric. */
  readonly plot?: (rows: Rows) => string
  /** Decides by the rows alone; written before the numbers are known. */
  judge(rows: Rows): Outcome
}

export const experiment = (definition: Experiment): Experiment => definition

/** The rows of an experiment, by arm and metric. */
export class Rows {
  readonly list: readonly Row[]

  constructor(list: readonly Row[]) {
    this.list = list
  }

  at(name: string, metric: string): Row {
    const row = this.list.find((entry) => entry.name === name && entry.metric === metric)
    if (!row) throw new Error(`there is no '${metric}' of '${name}'`)
    return row
  }

  mean(name: string, metric: string): number {
    return this.at(name, metric).mean
  }

  /** Differences seed by seed, `name` minus `other`: their mean and the half-width of the 95 % interval (Student). */
  difference(name: string, other: string, metric: string): { readonly mean: number; readonly half: number } {
    const [a, b] = [this.at(name, metric).values, this.at(other, metric).values]
    if (a.length !== b.length) throw new Error(`'${name}' and '${other}' have other seeds`)
    const differences = a.map((value, i) => value - b[i]!)
    const { mean, spread } = summary(differences)
    const n = differences.length
    return { mean, half: n > 1 ? (student95(n - 1) * spread) / Math.sqrt(n) : Number.POSITIVE_INFINITY }
  }
}

export function summary(values: readonly number[]): { mean: number; spread: number } {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, spread: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 }
}

/** The 97.5 % quantile of Student's t for 1 to 12 degrees of freedom, and the normal's beyond. */
const quantiles = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179]
const student95 = (freedom: number): number => quantiles[freedom - 1] ?? 1.96
