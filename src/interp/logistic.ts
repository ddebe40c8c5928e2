/** Linear probes: logistic regression on a few thousand vectors, and how well scores order two kinds. In float64. */

export interface Probe {
  /** The logit of a vector that has the label is above 0. */
  logit(row: ArrayLike<number>): number
}

export interface ProbeOptions {
  /** Weight of ½‖w‖² beside the mean loss, on columns of variance 1. */
  readonly l2?: number
  readonly steps?: number
}

/**
 * Minimises mean BCE(σ(w·x + b), label) + l2/2 ‖w‖² over standardised columns by accelerated gradient descent (Nesterov
 * 1983) with the step 1/L, L = (width + 1)/4 + l2. Each label weighs the same, however many rows have it.
 */
export function fitProbe(
  rows: readonly ArrayLike<number>[],
  labels: readonly boolean[],
  { l2 = 0.01, steps = 300 }: ProbeOptions = {},
): Probe {
  const n = rows.length
  const positives = labels.filter((label) => label).length
  if (labels.length !== n) throw new Error(`${n} rows and ${labels.length} labels`)
  if (positives === 0 || positives === n) throw new Error('a probe needs rows of both kinds')
  const width = rows[0]!.length
  const mean = new Float64Array(width)
  const inverse = new Float64Array(width)
  for (const row of rows) for (let j = 0; j < width; j++) mean[j]! += row[j]! / n
  for (const row of rows) for (let j = 0; j < width; j++) inverse[j]! += (row[j]! - mean[j]!) ** 2 / n
  for (let j = 0; j < width; j++) inverse[j] = inverse[j]! > 0 ? 1 / Math.sqrt(inverse[j]!) : 0
  const x = rows.map((row) => Float64Array.from(mean, (m, j) => (row[j]! - m) * inverse[j]!))
  const weights = labels.map((label) => 0.5 / (label ? positives : n - positives))
  // The last entry is the bias, which is not shrunk.
  let w = new Float64Array(width + 1)
  let before = w
  const rate = 1 / ((width + 1) / 4 + l2)
  for (let step = 0; step < steps; step++) {
    const ahead = w.map((value, j) => value + (step / (step + 3)) * (value - before[j]!))
    const gradient = ahead.map((value, j) => (j < width ? l2 * value : 0))
    for (let i = 0; i < n; i++) {
      const error = (sigmoid(dot(x[i]!, ahead) + ahead[width]!) - Number(labels[i])) * weights[i]!
      for (let j = 0; j < width; j++) gradient[j]! += error * x[i]![j]!
      gradient[width]! += error
    }
    before = w
    w = ahead.map((value, j) => value - rate * gradient[j]!)
  }
  const found = w
  return {
    logit(row) {
      let sum = found[width]!
      for (let j = 0; j < width; j++) sum += found[j]! * (row[j]! - mean[j]!) * inverse[j]!
      return sum
    },
  }
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

function dot(x: Float64Array, w: Float64Array): number {
  let sum = 0
  for (let j = 0; j < x.length; j++) sum += x[j]! * w[j]!
  return sum
}

/**
 * Area under the ROC curve: how often a score with the label is above one without it, ties by halves; from ranks (Mann and
 * Whitney 1947).
 */
export function areaUnderCurve(scores: ArrayLike<number>, labels: readonly boolean[]): number {
  const order = Array.from(labels.keys()).sort((a, b) => scores[a]! - scores[b]!)
  const positives = labels.filter((label) => label).length
  if (scores.length !== labels.length) throw new Error(`${scores.length} scores and ${labels.length} labels`)
  if (positives === 0 || positives === labels.length)
    throw new Error('an area under the curve needs both kinds')
  let ranks = 0
  for (let at = 0; at < order.length; ) {
    let end = at
    while (end < order.length && scores[order[end]!] === scores[order[at]!]) end++
    for (let i = at; i < end; i++) if (labels[order[i]!]) ranks += (at + end + 1) / 2
    at = end
  }
  return (ranks - (positives * (positives + 1)) / 2) / (positives * (labels.length - positives))
}
