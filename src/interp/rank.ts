/** The rank of a matrix in floating point. */

/**
 * How many columns of a matrix [rows, columns] are independent: Gram and Schmidt with the longest remaining column
 * first, until none is longer than `tolerance` times the first one.
 */
export function numericalRank(
  data: ArrayLike<number>,
  rows: number,
  columns: number,
  tolerance = 1e-5,
): number {
  const rest = Float64Array.from(data)
  const lengths = new Float64Array(columns)
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) lengths[j]! += rest[i * columns + j]! ** 2
  let first = 0
  for (let rank = 0; ; rank++) {
    if (rank === Math.min(rows, columns)) return rank
    const pivot = lengths.reduce((best, length, j) => (length > lengths[best]! ? j : best), 0)
    let squares = 0
    for (let i = 0; i < rows; i++) squares += rest[i * columns + pivot]! ** 2
    if (rank === 0) first = squares
    if (!(squares > first * tolerance ** 2)) return rank
    const q = Float64Array.from({ length: rows }, (_, i) => rest[i * columns + pivot]! / Math.sqrt(squares))
    const along = new Float64Array(columns)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) along[j]! += q[i]! * rest[i * columns + j]!
    lengths.fill(0)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const left = rest[i * columns + j]! - q[i]! * along[j]!
        rest[i * columns + j] = left
        lengths[j]! += left * left
      }
  }
}
