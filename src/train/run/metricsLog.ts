/** What a run reports, kept in files: one JSON object a line, and TensorBoard's events. */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { scalarEvent, versionEvent } from './tensorBoard.ts'

export interface MetricsRow {
  readonly step: number
  readonly [name: string]: number | string
}

/**
 * `metrics.jsonl` and an events file in a folder. A run that goes on at step `from` leaves out what was written of
 * later steps, as they are taken again.
 */
export class MetricsLog {
  readonly #lines: number
  readonly #events: number

  constructor(folder: string, from = 0) {
    const path = join(folder, metricsFile)
    const kept = from === 0 ? [] : readMetrics(folder).filter(({ step }) => step <= from)
    this.#lines = openSync(path, 'w')
    for (const row of kept) writeSync(this.#lines, `${JSON.stringify(row)}\n`)
    // TensorBoard joins all events files of a folder, and a later one replaces the steps that it repeats.
    this.#events = openSync(
      join(folder, `events.out.tfevents.${Math.floor(Date.now() / 1000)}.glossa.${from}`),
      'w',
    )
    writeSync(this.#events, versionEvent(Date.now() / 1000))
  }

  write(row: MetricsRow): void {
    writeSync(this.#lines, `${JSON.stringify(row)}\n`)
    const { step, ...values } = row
    const scalars = Object.entries(values).filter((entry): entry is [string, number] =>
      Number.isFinite(entry[1]),
    )
    writeSync(this.#events, scalarEvent(step, Date.now() / 1000, scalars))
  }

  close(): void {
    closeSync(this.#lines)
    closeSync(this.#events)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

const metricsFile = 'metrics.jsonl'

/** The rows of a run so far. A last line that a kill cut short is left out. */
export function readMetrics(folder: string): MetricsRow[] {
  const path = join(folder, metricsFile)
  if (!existsSync(path)) return []
  const text = readFileSync(path, 'utf8')
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as MetricsRow)
}
