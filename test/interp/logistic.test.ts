import { expect, test } from 'vitest'
import { random } from '../../src/array/index.ts'
import { areaUnderCurve, fitProbe } from '../../src/interp/logistic.ts'

test('the optimum has no gradient, and its area is that of counted pairs', () => {
  const draw = random.gaussian(3)
  const [count, l2] = [200, 0.05]
  const labels = Array.from({ length: count }, (_, i) => i % 3 === 0)
  const rows = labels.map((label) => [draw() * 3 + Number(label) * 2, draw(), 5 + draw() - Number(label)])
  const probe = fitProbe(rows, labels, { l2, steps: 2000 })
  // ∂/∂b of the balanced loss is 0, and ∂/∂w along a column of variance 1 is −l2 w.
  const weights = labels.map((label) => 0.5 / labels.filter((other) => other === label).length)
  const errors = rows.map(
    (row, i) => (1 / (1 + Math.exp(-probe.logit(row))) - Number(labels[i])) * weights[i]!,
  )
  expect(Math.abs(errors.reduce((a, b) => a + b))).toBeLessThan(1e-9)
  for (const j of [0, 1, 2]) {
    const column = rows.map((row) => row[j]!)
    const mean = column.reduce((a, b) => a + b) / count
    const deviation = Math.sqrt(column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / count)
    const gradient = errors.reduce((sum, e, i) => sum + (e * (column[i]! - mean)) / deviation, 0)
    const up = [...rows[0]!]
    up[j]! += deviation
    const weight = probe.logit(up) - probe.logit(rows[0]!)
    expect(Math.abs(gradient + l2 * weight)).toBeLessThan(1e-9)
  }
  const scores = rows.map((row) => Math.round(probe.logit(row)))
  let wins = 0
  let pairs = 0
  for (const [i, own] of labels.entries())
    for (const [j, other] of labels.entries())
      if (own && !other) {
        pairs++
        wins += scores[i]! > scores[j]! ? 1 : scores[i] === scores[j] ? 0.5 : 0
      }
  expect(areaUnderCurve(scores, labels)).toBeCloseTo(wins / pairs, 12)
  expect(areaUnderCurve(scores, labels)).toBeGreaterThan(0.7)
  expect(() =>
    fitProbe(
      rows,
      rows.map(() => true),
    ),
  ).toThrow(/both kinds/)
  expect(() => areaUnderCurve([1], [true])).toThrow(/both kinds/)
})
