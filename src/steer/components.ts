/** Means and principal components of a few vectors, in float64. */

export function meanOf(rows: readonly Float32Array[]): Float64Array {
  const mean = new Float64Array(rows[0]!.length)
  for (const row of rows) for (let i = 0; i < row.length; i++) mean[i]! += row[i]! / rows.length
  return mean
}

/** Power iteration stops where the direction turns by less. */
const still = 1e-12
const mostIterations = 10_000

/**
 * The direction of the largest variance about the mean, of length 1; its sign is that of its largest entry. Power
 * iteration on the Gram matrix of the rows, so that no matrix of the width squared is made. Throws where all rows are one.
 */
export function firstComponent(rows: readonly Float32Array[]): Float32Array {
  const n = rows.length
  const mean = meanOf(rows)
  const centred = rows.map((row) => Float64Array.from(row, (x, i) => x - mean[i]!))
  const gram = centred.map((a) => centred.map((b) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)))
  const size = Math.sqrt(gram.reduce((sum, row, i) => sum + row[i]!, 0))
  if (!(size > 0)) throw new Error('all differences are equal: there is no direction in which they vary most')
  // Begins with the longest row: it is not orthogonal to the component unless that is nothing.
  const longest = gram.reduce((best, row, i) => (row[i]! > gram[best]![best]! ? i : best), 0)
  let weights = Float64Array.from(gram[longest]!)
  for (let step = 0; step < mostIterations; step++) {
    const length = Math.hypot(...weights)
    const unit = weights.map((x) => x / length)
    weights = Float64Array.from(gram, (row) => row.reduce((sum, x, i) => sum + x * unit[i]!, 0))
    const next = Math.hypot(...weights)
    const turned = Math.hypot(...weights.map((x, i) => x / next - unit[i]!))
    if (turned < still) break
  }
  const direction = new Float64Array(mean.length)
  for (let k = 0; k < n; k++)
    for (let i = 0; i < direction.length; i++) direction[i]! += weights[k]! * centred[k]![i]!
  const length = Math.hypot(...direction)
  const largest = direction.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0)
  return Float32Array.from(direction, (x) => (x / length) * Math.sign(largest))
}
