import { expect, test } from 'vitest'
import { random } from '../../src/array/index.ts'
import { assignment } from '../../src/interp/assignment.ts'

const total = (costs: ArrayLike<number>, columns: number, chosen: ArrayLike<number>): number =>
  Array.from(chosen).reduce((sum, column, row) => sum + costs[row * columns + column]!, 0)

/** The least total over all choices of different columns. */
function bruteForce(costs: ArrayLike<number>, rows: number, columns: number, taken: number[] = []): number {
  if (taken.length === rows) return total(costs, columns, taken)
  let least = Number.POSITIVE_INFINITY
  for (let column = 0; column < columns; column++)
    if (!taken.includes(column)) least = Math.min(least, bruteForce(costs, rows, columns, [...taken, column]))
  return least
}

test('as good as the best of all matchings, with ties, negative costs and spare columns', () => {
  const uniform = random.generator(3)
  for (let trial = 0; trial < 200; trial++) {
    const rows = 1 + Math.floor(uniform() * 5)
    const columns = rows + Math.floor(uniform() * 3)
    const whole = trial % 2 === 0
    const costs = Float64Array.from({ length: rows * columns }, () => {
      const cost = uniform() * 8 - 4
      return whole ? Math.round(cost / 2) : cost
    })
    const found = assignment(costs, rows, columns)
    expect(new Set(found).size).toBe(rows)
    expect(total(costs, columns, found)).toBeCloseTo(bruteForce(costs, rows, columns), 10)
  }
})

test('a greedy matching would be worse', () => {
  expect([...assignment([1, 2, 2, 4], 2, 2)]).toEqual([1, 0])
})

test('finds a hidden permutation of 300', () => {
  const uniform = random.generator(1)
  const n = 300
  const hidden = Array.from({ length: n }, (_, i) => (i * 7 + 11) % n)
  const costs = Float64Array.from({ length: n * n }, (_, at) =>
    hidden[Math.floor(at / n)] === at % n ? 0 : 0.01 + uniform(),
  )
  expect([...assignment(costs, n, n)]).toEqual(hidden)
})

test('refuses what it cannot match', () => {
  expect(() => assignment([1, 2], 2, 1)).toThrow('2 rows have only 1 columns')
  expect(() => assignment([1, Number.NaN], 1, 2)).toThrow('column 1 is NaN')
  expect(() => assignment([1, 2, 3], 2, 2)).toThrow('3 costs')
})
