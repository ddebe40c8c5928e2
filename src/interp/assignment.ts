/**
 * One-to-one matching of least cost, the linear assignment problem, by shortest augmenting paths (Jonker and Volgenant
 * 1987; here as in Crouse 2016, "On implementing 2D rectangular assignment algorithms"). It begins with each row at its
 * cheapest column, where that is free. O(rows² · columns) at worst; 64-bit sums.
 */

/** The column of each row. `costs` [rows, columns] row-major, rows ≤ columns. */
export function assignment(costs: ArrayLike<number>, rows: number, columns: number): Int32Array {
  if (costs.length !== rows * columns)
    throw new RangeError(`assignment: ${costs.length} costs for ${rows} rows and ${columns} columns`)
  if (rows > columns) throw new RangeError(`assignment: ${rows} rows have only ${columns} columns`)
  // Potentials: costs[i, j] − u[i] − v[j] ≥ 0, and 0 where i has j.
  const [u, v] = [new Float64Array(rows), new Float64Array(columns)]
  const columnOf = new Int32Array(rows).fill(-1)
  const rowOf = new Int32Array(columns).fill(-1)
  for (let i = 0; i < rows; i++) {
    let [cheapest, at] = [Number.POSITIVE_INFINITY, -1]
    for (let j = 0; j < columns; j++) {
      const cost = costs[i * columns + j]!
      if (!Number.isFinite(cost))
        throw new RangeError(`assignment: the cost of row ${i}, column ${j} is ${cost}`)
      if (cost < cheapest || (cost === cheapest && rowOf[at]! >= 0 && rowOf[j]! < 0))
        [cheapest, at] = [cost, j]
    }
    u[i] = cheapest
    if (rowOf[at]! < 0) [rowOf[at], columnOf[i]] = [i, at]
  }

  const distance = new Float64Array(columns)
  const from = new Int32Array(columns)
  const open = new Int32Array(columns)
  const [seenRows, seenColumns] = [new Int32Array(rows), new Int32Array(columns)]
  for (let start = 0; start < rows; start++) {
    if (columnOf[start]! >= 0) continue
    distance.fill(Number.POSITIVE_INFINITY)
    for (let j = 0; j < columns; j++) open[j] = j
    let [left, rowsSeen, columnsSeen] = [columns, 0, 0]
    let [row, length, sink] = [start, 0, -1]
    while (sink < 0) {
      seenRows[rowsSeen++] = row
      const [base, offset] = [row * columns, length - u[row]!]
      let [nearest, at] = [Number.POSITIVE_INFINITY, -1]
      for (let k = 0; k < left; k++) {
        const j = open[k]!
        const reached = offset + costs[base + j]! - v[j]!
        if (reached < distance[j]!) {
          distance[j] = reached
          from[j] = row
        }
        if (distance[j]! < nearest || (distance[j] === nearest && rowOf[j]! < 0))
          [nearest, at] = [distance[j]!, k]
      }
      const column = open[at]!
      open[at] = open[--left]!
      length = nearest
      seenColumns[columnsSeen++] = column
      if (rowOf[column]! < 0) sink = column
      else row = rowOf[column]!
    }
    for (let k = 0; k < rowsSeen; k++) {
      const i = seenRows[k]!
      u[i]! += i === start ? length : length - distance[columnOf[i]!]!
    }
    for (let k = 0; k < columnsSeen; k++) {
      const j = seenColumns[k]!
      v[j]! -= length - distance[j]!
    }
    for (let column = sink; ; ) {
      const i = from[column]!
      rowOf[column] = i
      const before = columnOf[i]!
      columnOf[i] = column
      if (i === start) break
      column = before
    }
  }
  return columnOf
}
