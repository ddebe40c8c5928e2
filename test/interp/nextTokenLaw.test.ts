/** The law of equi-learning: least squares against numpy, closed forms, and a linear model whose residual is known. */
import { afterAll, describe, expect, it } from 'vitest'
import { random } from '../../src/array/index.ts'
import { factorize, solveNormal } from '../../src/interp/leastSquares.ts'
import {
  lawOf,
  lawOfMoments,
  layerMoments,
  leastSquares,
  Moments,
  nextTokenLaw,
  residualOf,
} from '../../src/interp/nextTokenLaw.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture } from '../reference.ts'
import { inside } from './inside.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['gpt2-tiny', 'llama-tiny'] as const)('%s', (name) => {
  const { rows, other, law: expected } = inside[name]
  const model = Model.open(fixture(name), engine)

  it('gives the residuals, correlation and decay that numpy gives', async () => {
    const law = await nextTokenLaw(model, rows, { heldOut: other, batch: 6 })
    const close = { rtol: 1e-4, atol: 1e-5 }
    allClose(law.residuals, expected.residuals, close)
    allClose(law.heldOut!.residuals, expected.heldOut, { ...close, rtol: 3e-4 })
    allClose([law.correlation, law.decay], [expected.correlation, expected.decay], { rtol: 1e-3, atol: 1e-4 })
    expect(law.tokens).toBe(rows.length * (rows[0]!.length - 1))
    expect(law.ratio).toBeCloseTo(expected.residuals.at(-1)! / expected.residuals[0]!, 4)
  })

  it('is the same whatever the batches, and for several targets at once', async () => {
    const { vocab } = model.spec
    const ids = Float64Array.from({ length: vocab }, (_, i) => i)
    const squares = ids.map((i) => i * i)
    const [whole, parts] = [
      await layerMoments(model, rows, { values: [ids], batch: rows.length }),
      await layerMoments(model, rows, { values: [squares, ids], batch: 3 }),
    ]
    expect(lawOfMoments(parts, undefined, 1).residuals[0]).toBeCloseTo(lawOfMoments(whole).residuals[0]!, 9)
    expect(lawOfMoments(parts).residuals[0]).not.toBeCloseTo(lawOfMoments(whole).residuals[0]!, 3)
    // A shifted and scaled target is as hard to predict.
    const scaled = await layerMoments(model, rows, { values: [ids.map((i) => 1000 - 3 * i)] })
    expect(lawOfMoments(scaled).residuals[1]).toBeCloseTo(lawOfMoments(whole).residuals[1]!, 9)
  })
})

/** y = 2 + 3 x₁ - x₂ + noise, as sums. */
const observed = (count: number, noise: number, seed: number, width = 2): Moments => {
  const gaussian = random.gaussian(seed)
  const moments = new Moments(width)
  for (let i = 0; i < count; i++) {
    const x = Array.from({ length: width }, gaussian)
    const y = 2 + 3 * x[0]! - x[1]! + noise * gaussian()
    const z = [...x, 1]
    for (let a = 0; a <= width; a++) {
      for (let b = 0; b <= width; b++) moments.products[a * (width + 1) + b]! += z[a]! * z[b]!
      moments.crossed[a]! += z[a]! * y
    }
    moments.squares[0]! += y * y
  }
  return moments
}

describe('least squares', () => {
  it('finds a linear rule, and the share of noise beside it', () => {
    const exact = leastSquares(observed(50, 0, 1))
    expect(exact.constant).toBeCloseTo(2, 6)
    expect([...exact.weights].map((w) => Math.round(w * 1e6) / 1e6)).toEqual([3, -1])
    expect(residualOf(exact, observed(50, 0, 2))).toBeLessThan(1e-12)
    // Var(3 x₁ - x₂) = 10: noise of variance 10 is half of everything.
    const noisy = observed(8000, Math.sqrt(10), 3)
    expect(residualOf(leastSquares(noisy), noisy)).toBeCloseTo(0.5, 1)
    // What fits its own 60 observations with 20 numbers is worse on others, and better on its own.
    const few = observed(60, Math.sqrt(10), 4, 20)
    const fit = leastSquares(few)
    expect(residualOf(fit, few)).toBeLessThan(0.45)
    expect(residualOf(fit, observed(5000, Math.sqrt(10), 5, 20))).toBeGreaterThan(0.6)
  })

  it('bears features that depend on each other or do not vary', () => {
    const twice = new Moments(2)
    const gaussian = random.gaussian(6)
    for (let i = 0; i < 40; i++) {
      const x = gaussian()
      const z = [x, -x, 1]
      twice.add(
        z.flatMap((a) => z.map((b) => a * b)),
        z.map((a) => a * (5 * x + 1)),
        [(5 * x + 1) ** 2],
      )
    }
    expect(residualOf(leastSquares(twice), twice)).toBeLessThan(1e-9)
    const none = new Moments(1)
    for (const y of [1, 2, 3]) none.add([0, 0, 0, 1], [0, y], [y * y])
    expect(residualOf(leastSquares(none), none)).toBeCloseTo(1, 12)
  })

  it('refuses too few observations and a constant target', () => {
    expect(() => leastSquares(observed(3, 1, 1))).toThrow(/3 observations for 3 numbers/)
    const constant = new Moments(1)
    for (const x of [1, 2, 3, 4]) constant.add([x * x, x, x, 1], [2 * x, 2], [4])
    expect(() => leastSquares(constant)).toThrow(/does not vary/)
    expect(() => constant.add([1], [1], [1])).toThrow(/1 sums are added to 4/)
  })
})

describe('the law', () => {
  it('is exact where each layer takes the same share', () => {
    const law = lawOf([0.9, 0.72, 0.576, 0.4608])
    expect(law.correlation).toBeCloseTo(-1, 12)
    expect(law.decay).toBeCloseTo(0.8, 12)
    expect(law.ratio).toBeCloseTo(0.512, 12)
  })
  it('is nothing for equal residuals, and rises with rising ones', () => {
    expect(lawOf([0.5, 0.5, 0.5])).toEqual({ correlation: 0, decay: 1, ratio: 1 })
    expect(lawOf([0.1, 0.2, 0.4]).correlation).toBeCloseTo(1, 12)
    // log 1, log 1, log e⁻³: x = -1, 0, 1 and y = 1, 1, -2.
    expect(lawOf([1, 1, Math.exp(-3)]).correlation).toBeCloseTo(-3 / Math.sqrt(2 * 6), 12)
  })
  it('refuses two layers and residuals of zero', () => {
    expect(() => lawOf([1, 0.5])).toThrow(/three layers/)
    expect(() => lawOf([1, 0.5, 0])).toThrow(/positive/)
  })
})

it('Cholesky factors multiply back, solve, and refuse what is not positive definite', () => {
  const a = [4, 2, 0.6, 2, 5, 1, 0.6, 1, 3]
  const l = Float64Array.from(a)
  factorize(l, 3)
  for (let i = 0; i < 3; i++)
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let k = 0; k <= j; k++) sum += l[i * 3 + k]! * l[j * 3 + k]!
      expect(sum).toBeCloseTo(a[i * 3 + j]!, 12)
    }
  const x = solveNormal(Float64Array.from(a), Float64Array.of(1, 2, 3), 3, 0)
  for (let i = 0; i < 3; i++)
    expect(a[i * 3]! * x[0]! + a[i * 3 + 1]! * x[1]! + a[i * 3 + 2]! * x[2]!).toBeCloseTo(i + 1, 12)
  expect(() => factorize(Float64Array.of(1, 2, 2, 1), 2)).toThrow(/no one solution/)
})
