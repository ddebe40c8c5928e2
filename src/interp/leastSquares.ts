/** Least squares from moments, in float64. */

/**
 * L with A = L Lᵀ in the lower triangle of A [n, n], which it overwrites. Throws where A is not positive definite: there are
 * directions that no observation has.
 */
export function factorize(a: Float64Array, n: number): void {
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = a[i * n + j]!
      for (let k = 0; k < j; k++) sum -= a[i * n + k]! * a[j * n + k]!
      if (i > j) a[i * n + j] = sum / a[j * n + j]!
      else if (sum > 0) a[j * n + j] = Math.sqrt(sum)
      else
        throw new Error(
          `the least squares have no one solution: of ${n} directions, the ${j + 1}th is not in the data. More tokens or a larger ridge help`,
        )
    }
  }
}

/**
 * X with (A + ridge · mean diagonal · I) X = B by Cholesky's decomposition. A [n, n] symmetric, B [n, m], row-major;
 * both are overwritten. Throws where A is not positive definite: there are directions that no observation has.
 */
export function solveNormal(a: Float64Array, b: Float64Array, n: number, ridge: number): Float64Array {
  if (a.length !== n * n || b.length % n !== 0)
    throw new RangeError(`solveNormal: ${a.length} and ${b.length} numbers for ${n} unknowns`)
  const m = b.length / n
  let trace = 0
  for (let i = 0; i < n; i++) trace += a[i * n + i]!
  for (let i = 0; i < n; i++) a[i * n + i]! += (ridge * trace) / n
  factorize(a, n)
  const subtract = (to: number, from: number, factor: number): void => {
    for (let c = 0; c < m; c++) b[to * m + c]! -= factor * b[from * m + c]!
  }
  const divide = (row: number): void => {
    for (let c = 0; c < m; c++) b[row * m + c]! /= a[row * n + row]!
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) subtract(i, k, a[i * n + k]!)
    divide(i)
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) subtract(i, k, a[k * n + i]!)
    divide(i)
  }
  return b
}
