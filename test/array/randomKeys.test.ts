/** Random numbers from keys that are arguments: equal to the host's generator, and as good between keys as within. */
import { afterAll, describe, expect, test } from 'vitest'
import { grad, random, type Shape, ShapeError, type Tensor, tensor } from '../../src/array/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const count = 100_000
/** Five standard errors of a mean of `count` numbers of variance 1: one false alarm in two million. */
const error = 5 / Math.sqrt(count)
/** P(D > x / √n) = 2 exp(-2 x²): 1e-6 at 2.7 (Kolmogorov). */
const ksBound = 2.7 / Math.sqrt(count)

const mean = (x: Float64Array): number => x.reduce((a, b) => a + b, 0) / x.length
function correlation(x: Float64Array, y: Float64Array): number {
  const [a, b] = [mean(x), mean(y)]
  const dot = (p: Float64Array, q: Float64Array, m: number, n: number) =>
    p.reduce((sum, v, i) => sum + (v - m) * (q[i]! - n), 0)
  return dot(x, y, a, b) / Math.sqrt(dot(x, x, a, a) * dot(y, y, b, b))
}
const same = (x: Float64Array, y: Float64Array): boolean =>
  x.length === y.length && x.every((value, i) => value === y[i])
/** The largest distance between the empirical distribution and `cdf`. */
function distance(x: Float64Array, cdf: (value: number) => number): number {
  const sorted = x.slice().sort()
  return sorted.reduce((most, v, i) => {
    const p = cdf(v)
    return Math.max(most, p - i / sorted.length, (i + 1) / sorted.length - p)
  }, 0)
}
/** Φ by Simpson's rule on the density from 0: exact to 1e-10 here. */
function normalCdf(x: number): number {
  const steps = 200
  const h = x / steps
  let sum = 0
  for (let i = 0; i <= steps; i++)
    sum += (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp(-0.5 * (i * h) ** 2)
  return 0.5 + ((h / 3) * sum) / Math.sqrt(2 * Math.PI)
}

type Draw = (key: Tensor, shape: Shape) => Tensor
const drawer = (draw: Draw, size = count) => {
  const program = engine.jit((key: Tensor) => draw(key, [size]).cast('f64'))
  return Object.assign(
    async (key: number | Tensor): Promise<Float64Array> =>
      (await program(typeof key === 'number' ? random.key(key) : key)).data as Float64Array,
    { program },
  )
}
const uniform = drawer(random.uniform)
const normal = drawer(random.normal)
const host = (seed: number, size = count): Float64Array => {
  const next = random.generator(seed)
  return Float64Array.from({ length: size }, next)
}

describe('one program for all keys', () => {
  const keys = [0, 1, 2, 4_000_000_000, -1, random.fold(17, 3)]

  test('uniform is the generator, bit for bit, and repeatable', async () => {
    for (const key of keys) {
      const expected = host(key)
      for (let run = 0; run < 3; run++) expect(same(await uniform(key), expected), `key ${key}`).toBe(true)
    }
    // An i32 key is the same seed.
    const narrow = drawer(random.uniform)
    expect(same(await narrow(tensor([-1], [], 'i32')), host(-1))).toBe(true)
    expect(uniform.program.compilations).toBe(1)
  })

  test('normal is Box and Muller of two streams', async () => {
    for (const key of keys) {
      const [first, second] = [host(random.fold(key, 1)), host(random.fold(key, 2))]
      const expected = first.map(
        (u, i) => Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * second[i]!),
      )
      const actual = await normal(key)
      // f32: the angle up to 2π rounds by 5e-7, times a radius up to 5.8.
      expect(actual.every((v, i) => Math.abs(v - expected[i]!) < 5e-6)).toBe(true)
    }
    expect(normal.program.compilations).toBe(1)
  })

  test('bernoulli is a comparison with the generator', async () => {
    for (const p of [0, 2 ** -24, 0.1, 0.5, 1 - 2 ** -24, 1]) {
      const flips = await drawer((key, shape) => random.bernoulli(key, p, shape))(7)
      const expected = host(7).map((u) => Number(u < Math.fround(p)))
      expect(same(flips, expected), `p ${p}`).toBe(true)
    }
    const traced = engine.jit((key: Tensor, p: Tensor) => random.bernoulli(key, p, [4, 3]))
    const flips = await traced(random.key(1), tensor([1, 0, 1]))
    expect([...flips.data]).toEqual([1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1])
    traced.dispose()
  })

  test('fold is the same in the graph', async () => {
    const folded = engine.jit((key: Tensor, purpose: Tensor) => [
      random.fold(key, purpose),
      random.fold(key, 5),
      random.fold(5, purpose),
    ])
    for (const key of [...keys, 2 ** 32, 2 ** 40 + 7, -(2 ** 33), Number.MAX_SAFE_INTEGER])
      for (const purpose of [0, 1, 1000, 2 ** 32 - 1]) {
        const found = await folded(random.key(key), random.key(purpose))
        expect(
          found.map((word) => word.item()),
          `${key}, ${purpose}`,
        ).toEqual([random.fold(key, purpose), random.fold(key, 5), random.fold(5, purpose)])
      }
    expect(folded.compilations).toBe(1)
    folded.dispose()
  })
})

describe('distributions', () => {
  // Keys as a training run has them: of neighbouring steps.
  const keys = Array.from({ length: 8 }, (_, step) => random.fold(42, step))

  test('uniform: moments and Kolmogorov-Smirnov', async () => {
    for (const key of [0, 1, 2, ...keys]) {
      const x = await uniform(key)
      expect(Math.abs(mean(x) - 0.5)).toBeLessThan(error * Math.sqrt(1 / 12))
      // Var((u - ½)²) = 1/180.
      expect(Math.abs(mean(x.map((u) => (u - 0.5) ** 2)) - 1 / 12)).toBeLessThan(error * Math.sqrt(1 / 180))
      expect(distance(x, (u) => u)).toBeLessThan(ksBound)
    }
  })

  test('normal: moments and Kolmogorov-Smirnov', async () => {
    for (const key of [0, 1, ...keys.slice(0, 3)]) {
      const x = await normal(key)
      expect(Math.abs(mean(x))).toBeLessThan(error)
      expect(Math.abs(mean(x.map((v) => v ** 2)) - 1)).toBeLessThan(error * Math.SQRT2)
      expect(Math.abs(mean(x.map((v) => v ** 3)))).toBeLessThan(error * Math.sqrt(15))
      expect(Math.abs(mean(x.map((v) => v ** 4)) - 3)).toBeLessThan(error * Math.sqrt(96))
      expect(distance(x, normalCdf)).toBeLessThan(ksBound)
    }
  })

  test('bernoulli: frequency', async () => {
    const flips = drawer((key, shape) => random.bernoulli(key, 0.1, shape))
    for (const key of keys)
      expect(Math.abs(mean(await flips(key)) - 0.1)).toBeLessThan(error * Math.sqrt(0.1 * 0.9))
  })

  test.each<[string, readonly number[]]>([
    ['consecutive keys', [0, 1, 2, 3, 4]],
    ['folded keys', keys.slice(0, 5)],
    [
      'a key and what is folded from it',
      [9, random.fold(9, 0), random.fold(9, 1), random.fold(random.fold(9, 1), 1)],
    ],
    ['keys that differ in one high bit', [5, 5 + 2 ** 16, 5 + 2 ** 31]],
  ])('independent: %s', async (_, chosen) => {
    for (const draw of [uniform, normal]) {
      const rows = await Promise.all(chosen.map(async (key) => (await draw(key)).slice()))
      rows.forEach((x, i) => {
        for (const lag of [1, 2, 3])
          expect(Math.abs(correlation(x.subarray(0, -lag), x.subarray(lag)))).toBeLessThan(error)
        for (const y of rows.slice(i + 1)) {
          expect(Math.abs(correlation(x, y))).toBeLessThan(error)
          expect(Math.abs(correlation(x.subarray(1), y.subarray(0, -1)))).toBeLessThan(error)
          expect(Math.abs(correlation(x.subarray(0, -1), y.subarray(1)))).toBeLessThan(error)
        }
      })
    }
  })

  test('one element over many keys is as random as many elements of one', async () => {
    const across = engine.jit((key: Tensor) => random.uniform(random.fold(key, 3), [2]))
    const x = new Float64Array(2000)
    for (let step = 0; step < x.length; step++) x[step] = Number((await across(random.key(step))).data[1])
    expect(distance(x, (u) => u)).toBeLessThan(2.7 / Math.sqrt(x.length))
    expect(Math.abs(correlation(x.subarray(0, -1), x.subarray(1)))).toBeLessThan(5 / Math.sqrt(x.length))
    expect(across.compilations).toBe(1)
    across.dispose()
  })
})

test('noise is a constant of a gradient, the same forward and backward', async () => {
  const dropout = (x: Tensor, key: Tensor) => random.bernoulli(key, 0.5, x.shape).where(x.mul(2), x.zero())
  const both = engine.jit(
    (x: Tensor, key: Tensor) => ({
      out: dropout(x, key),
      slope: grad((x: Tensor) => dropout(x, key).sum())(x),
    }),
    { axes: [['n']] },
  )
  const x = tensor(new Float32Array(1000).fill(1))
  const [first, second] = [await both(x, random.key(1)), await both(x, random.key(2))]
  expect(first.slope.data).toEqual(first.out.data)
  expect(first.out.data).not.toEqual(second.out.data)
  both.dispose()
})

test('what is no key or probability is refused', () => {
  expect(() => random.uniform(tensor([1, 2], [2], 'i64'), [3])).toThrow(ShapeError)
  expect(() => random.normal(tensor([1], []), [3])).toThrow('a key is an i64 or i32 scalar, got f32[]')
  expect(() => random.bernoulli(1, 1.5, [3])).toThrow('a probability is in [0, 1], got 1.5')
  expect(() => random.key(0.5)).toThrow('a seed is an integer, got 0.5')
})
