/** The losses of a run, drawn. */
import { join } from 'node:path'
import { lines, type Series } from '../../plot/index.ts'
import { writeAtomic } from '../../store/file.ts'
import { type MetricsRow, readMetrics } from './metricsLog.ts'

/** Points of a curve that can be told apart. */
const most = 400

/** Writes loss.svg in a run's folder: means of the training loss, and what was measured. */
export function drawLosses(folder: string, title: string, unit = 'nats'): string | undefined {
  const rows = readMetrics(folder)
  const learned = series('training', rows, 'loss')
  if (learned.points.length < 2) return undefined
  const names = new Set(
    rows.flatMap((row) => Object.keys(row)).filter((name) => /^validation\/.*loss$/.test(name)),
  )
  // Of several sources the deciding one is there twice, under its own name too.
  const sources = [...names].filter((name) => names.size < 2 || name !== 'validation/loss')
  const measured = sources.map((name) =>
    series(name.replace(/^validation\//, '').replace(/\/loss$/, ''), rows, name),
  )
  const path = join(folder, 'loss.svg')
  const svg = lines([learned, ...measured], { title, x: 'step', y: unit })
  writeAtomic(path, (put) => put(Buffer.from(svg)))
  return path
}

/** Means over equal stretches where there are more points than can be seen. */
function series(name: string, rows: readonly MetricsRow[], key: string): Series {
  const all = rows.flatMap((row) => (typeof row[key] === 'number' ? [{ x: row.step, y: row[key] }] : []))
  const stretch = Math.max(1, Math.ceil(all.length / most))
  const points: { x: number; y: number }[] = []
  for (let at = 0; at < all.length; at += stretch) {
    const part = all.slice(at, at + stretch)
    points.push({ x: part.at(-1)!.x, y: part.reduce((sum, { y }) => sum + y, 0) / part.length })
  }
  return { name, points }
}
