import { afterAll, describe, expect, test } from 'vitest'
import { random, type Tensor, tensor } from '../../src/array/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

const engine = new Engine(nodeRuntime({ threads: 2 }))
afterAll(() => engine.dispose())

const draws = (next: () => number, count: number): Float64Array => Float64Array.from({ length: count }, next)
const mean = (x: ArrayLike<number>): number => Array.prototype.reduce.call(x, (a, b) => a + b, 0) as number
const moments = (x: Float64Array) => {
  const centre = mean(x) / x.length
  const moment = (k: number) => mean(x.map((v) => (v - centre) ** k)) / x.length
  return {
    centre,
    variance: moment(2),
    skewness: moment(3) / moment(2) ** 1.5,
    kurtosis: moment(4) / moment(2) ** 2,
  }
}
const correlation = (x: Float64Array, y: Float64Array): number => {
  const [a, b] = [moments(x), moments(y)]
  return (
    mean(x.map((v, i) => (v - a.centre) * (y[i]! - b.centre))) / x.length / Math.sqrt(a.variance * b.variance)
  )
}

const count = 100_000
/** Five standard errors of a mean of `count` numbers: one false alarm in two million. */
const error = 5 / Math.sqrt(count)
const seeds = [0, 1, 2, 12345, 2 ** 31, 2 ** 32 - 1]

describe.each(seeds)('seed %i', (seed) => {
  const x = draws(random.generator(seed), count)
  test('uniform: range, mean, variance, correlation with what follows', () => {
    expect(Math.min(...x.subarray(0, 50_000))).toBeGreaterThanOrEqual(0)
    expect(x.every((v) => v >= 0 && v < 1)).toBe(true)
    const { centre, variance } = moments(x)
    expect(Math.abs(centre - 0.5)).toBeLessThan(error * Math.sqrt(1 / 12))
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(error / 12)
    for (const lag of [1, 2, 7, 64])
      expect(Math.abs(correlation(x.subarray(0, -lag), x.subarray(lag)))).toBeLessThan(error)
  })
  test('uniform: chi-square over single draws and pairs', () => {
    const chi = (cells: number, cell: (i: number) => number, total: number) => {
      const counts = new Float64Array(cells)
      for (let i = 0; i < total; i++) counts[cell(i)]!++
      const expected = total / cells
      return mean(counts.map((c) => (c - expected) ** 2 / expected))
    }
    /** Mean k - 1, deviation sqrt(2 (k - 1)). */
    const bound = (cells: number) => 5 * Math.sqrt(2 * (cells - 1))
    expect(Math.abs(chi(256, (i) => Math.floor(256 * x[i]!), count) - 255)).toBeLessThan(bound(256))
    // The low bits as well.
    expect(Math.abs(chi(256, (i) => (x[i]! * 2 ** 24) % 256, count) - 255)).toBeLessThan(bound(256))
    const pair = (i: number) => 16 * Math.floor(16 * x[2 * i]!) + Math.floor(16 * x[2 * i + 1]!)
    expect(Math.abs(chi(256, pair, count / 2) - 255)).toBeLessThan(bound(256))
  })
  test('gaussian: moments', () => {
    const g = moments(draws(random.gaussian(seed), count))
    expect(Math.abs(g.centre)).toBeLessThan(error)
    expect(Math.abs(g.variance - 1)).toBeLessThan(error * Math.SQRT2)
    expect(Math.abs(g.skewness)).toBeLessThan(error * Math.sqrt(6))
    expect(Math.abs(g.kurtosis - 3)).toBeLessThan(error * Math.sqrt(24))
  })
  test('in a graph: bit for bit the generator', async () => {
    const values = await engine.compute(random.uniform(seed, [50, 40]))
    expect(Float64Array.from(values.data as Float32Array)).toEqual(x.slice(0, 2000))
  })
})

test('a seed that is an input draws anew in one program', async () => {
  const f = engine.jit((seed: Tensor, like: Tensor) => random.uniform(seed, like.shape), {
    axes: [undefined, ['n', null]],
  })
  for (const [seed, n] of [
    [3, 4],
    [4, 4],
    [-1, 2],
    [2 ** 40 + 5, 3],
  ] as const) {
    const values = await f(tensor([seed], [], 'i64'), tensor(new Float32Array(n * 2), [n, 2]))
    expect(Float64Array.from(values.data as Float32Array)).toEqual(draws(random.generator(seed), n * 2))
  }
  expect(f.compilations).toBe(1)
  f.dispose()
})

test('normal in a graph: moments', async () => {
  const x = Float64Array.from((await engine.compute(random.normal(7, [count]))).data as Float32Array)
  const { centre, variance, skewness, kurtosis } = moments(x)
  expect(Math.abs(centre)).toBeLessThan(error)
  expect(Math.abs(variance - 1)).toBeLessThan(error * Math.SQRT2)
  expect(Math.abs(skewness)).toBeLessThan(error * Math.sqrt(6))
  expect(Math.abs(kurtosis - 3)).toBeLessThan(error * Math.sqrt(24))
  expect(Math.abs(correlation(x.subarray(0, -1), x.subarray(1)))).toBeLessThan(error)
})

test('different seeds are different, equal seeds equal', () => {
  const first = seeds.map((seed) => draws(random.generator(seed), 1000))
  first.forEach((x, i) => {
    expect(x).toEqual(draws(random.generator(seeds[i]!), 1000))
    for (const y of first.slice(i + 1)) expect(Math.abs(correlation(x, y))).toBeLessThan(5 / Math.sqrt(1000))
  })
  // Neighbouring seeds across the first draw.
  const across = Float64Array.from({ length: count }, (_, seed) => random.generator(seed)())
  expect(Math.abs(moments(across).centre - 0.5)).toBeLessThan(error * Math.sqrt(1 / 12))
  expect(Math.abs(correlation(across.subarray(0, -1), across.subarray(1)))).toBeLessThan(error)
})

test('seeds and positions are not exchangeable', () => {
  const table = Array.from({ length: 300 }, (_, seed) => draws(random.generator(seed), 300))
  const equal = table.flatMap((row, i) => [...row.subarray(0, i)].filter((v, j) => v === table[j]![i]))
  expect(equal.length).toBeLessThan(3)
  const all = new Set(table.flatMap((row) => [...row]))
  // Of 90000 draws from 2^24 values some 241 coincide by chance.
  expect(90_000 - all.size).toBeLessThan(241 + 5 * Math.sqrt(241))
})

test('a seed means the same numbers for ever', () => {
  const first = (seed: number) => [...draws(random.generator(seed), 3)].map((v) => v * 2 ** 24)
  expect([...[0, 1, 12345].map(first), [random.fold(1, 2)]]).toMatchInlineSnapshot(`
    [
      [
        7847205,
        15045808,
        500648,
      ],
      [
        13797143,
        8203317,
        3110428,
      ],
      [
        10985741,
        8385012,
        3202697,
      ],
      [
        100189536,
      ],
    ]
  `)
})

test('folding gives independent seeds', () => {
  const folded = Array.from({ length: 1000 }, (_, i) => random.fold(5, i))
  expect(new Set(folded).size).toBe(1000)
  expect(random.fold(5, 1)).not.toBe(random.fold(1, 5))
  expect(random.fold(2 ** 32, 1)).not.toBe(random.fold(0, 1))
  for (const seed of folded) expect(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32).toBe(true)
})
