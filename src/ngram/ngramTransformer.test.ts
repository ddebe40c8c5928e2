import { afterAll, describe, expect, test } from 'vitest'
import { tensor } from '../array/index.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { compileNgrams, historiesOf, type NgramTable, nextSymbols, sparsemax } from './ngramTransformer.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

/** A share of the probabilities is 0. */
function table(order: number, symbols: number, zero = 0.2): NgramTable {
  const rows = new Map<string, number[]>()
  let state = order * 100 + symbols
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  for (const history of historiesOf(order, symbols)) {
    const weights: number[] = Array.from({ length: symbols + 1 }, () => (draw() < zero ? 0 : draw() ** 3))
    if (!weights.some((weight) => weight > 0)) weights.fill(1)
    const sum = weights.reduce((a, b) => a + b, 0)
    rows.set(
      `${history}`,
      weights.map((weight) => weight / sum),
    )
  }
  return { order, symbols, probabilities: (history) => rows.get(`${history}`)! }
}

/** All strings of a length, n - 1 beginnings in front. */
function strings({ order, symbols }: NgramTable, length: number): number[][] {
  let all: number[][] = [new Array(order - 1).fill(symbols)]
  for (let i = 0; i < length; i++)
    all = all.flatMap((row) => Array.from({ length: symbols }, (_, symbol) => [...row, symbol]))
  return all
}

async function largestDifference(
  from: NgramTable,
  options: Parameters<typeof compileNgrams>[1],
  attention: Parameters<typeof nextSymbols>[2],
  rows: number[][],
): Promise<number> {
  const model = compileNgrams(from, options)
  const width = rows[0]!.length
  const result = await engine.compute(
    nextSymbols(model, tensor(Int32Array.from(rows.flat()), [rows.length, width]), attention),
  )
  const data = result.data
  let largest = 0
  for (const [i, row] of rows.entries())
    for (let at = from.order - 2; at < width; at++) {
      const exact = from.probabilities(row.slice(at + 2 - from.order, at + 1))
      for (let symbol = 0; symbol <= from.symbols; symbol++) {
        const got = Number(data[(i * width + at) * (from.symbols + 1) + symbol])
        largest = Math.max(largest, Math.abs(got - exact[symbol]!))
      }
    }
  return largest
}

describe.each([2, 3, 4])('order %i', (order) => {
  const from = table(order, 2)
  const rows = strings(from, 5)
  test.each([
    ['heads', 'unit', 'hard'],
    ['heads', 'linear', 'hard'],
    ['heads', 'linear', 'sparse'],
    ['layers', 'unit', 'hard'],
    ['layers', 'linear', 'hard'],
    ['layers', 'linear', 'sparse'],
  ] as const)('%s, %s places, %s attention: the table itself', async (layout, places, attention) => {
    expect(await largestDifference(from, { layout, places }, attention, rows)).toBeLessThan(1e-6)
  })
})

test('softmax comes nearer as it gets colder', async () => {
  const positive = table(3, 2, 0)
  const rows = strings(positive, 5)
  const gap = (from: NgramTable, inverseTemperature: number) =>
    largestDifference(from, { places: 'linear' }, { inverseTemperature }, rows)
  // What leaks is of the order of exp(-inverse temperature).
  const gaps = [await gap(positive, 1), await gap(positive, 4), await gap(positive, 8)]
  expect(gaps[0]).toBeGreaterThan(0.05)
  expect(gaps[1]).toBeLessThan(gaps[0]! / 2)
  expect(gaps[2]).toBeLessThan(gaps[1]! / 10)
  // The logarithm of 0 multiplies what leaks, so that zeros take longer.
  const zeros = table(3, 2)
  expect(await gap(zeros, 8)).toBeGreaterThan(gaps[2]!)
  expect(await gap(zeros, 32)).toBeLessThan(1e-6)
})

test('a row of 60 places, as far as unit vectors are told apart', async () => {
  const from = table(4, 3)
  const row = [3, 3, 3, ...Array.from({ length: 57 }, (_, i) => (i * i) % 3)]
  for (const layout of ['heads', 'layers'] as const)
    expect(await largestDifference(from, { layout }, 'hard', [row])).toBeLessThan(1e-6)
})

test('sparsemax: the definition by sorting, in float64', async () => {
  const rows = [
    [0, -1, -2],
    [1, 0.5, 0.4],
    [3, 3, -1e9],
    [0.2, 0.1, 0.15],
  ]
  const expected = rows.map((row) => {
    const sorted = [...row].sort((a, b) => b - a)
    let [sum, threshold] = [0, 0]
    for (const [i, value] of sorted.entries()) {
      sum += value
      if (1 + (i + 1) * value > sum) threshold = (sum - 1) / (i + 1)
    }
    return row.map((value) => Math.max(0, value - threshold))
  })
  const result = await engine.compute(sparsemax(tensor(Float32Array.from(rows.flat()), [4, 3])))
  for (const [i, value] of expected.flat().entries()) expect(Number(result.data[i])).toBeCloseTo(value, 6)
})

test('what cannot be is refused', () => {
  expect(() => compileNgrams(table(1, 2))).toThrow('has no history')
  const short = compileNgrams(table(2, 2), { longest: 3 })
  expect(() => nextSymbols(short, tensor(new Int32Array(4), [1, 4]), 'hard')).toThrow('4 places')
})
