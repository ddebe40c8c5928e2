import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addDims,
  broadcastShapes,
  type Dim,
  divideDims,
  evaluateDim,
  multiplyDims,
  sameDim,
  sizeOf,
  subtractDims,
  symbol,
  symbolName,
} from '../../src/array/index.ts'

const names = ['batch', 'time', 'past'] as const
const bindings = fc
  .tuple(fc.nat(50), fc.nat(50), fc.nat(50))
  .map((values) => new Map(names.map((name, i) => [name as string, values[i]!])))

/** A polynomial and the function that it should be. */
interface Pair {
  readonly dim: Dim
  readonly at: (values: ReadonlyMap<string, number>) => number
}
const { polynomial } = fc.letrec<{ polynomial: Pair; leaf: Pair; sum: Pair; product: Pair }>((tie) => ({
  leaf: fc.oneof(
    fc.integer({ min: -4, max: 6 }).map((value): Pair => ({ dim: value, at: () => value })),
    fc.constantFrom(...names).map((name): Pair => ({ dim: symbol(name), at: (values) => values.get(name)! })),
  ),
  sum: fc
    .tuple(tie('polynomial'), tie('polynomial'))
    .map(([a, b]): Pair => ({ dim: addDims(a.dim, b.dim), at: (values) => a.at(values) + b.at(values) })),
  product: fc
    .tuple(tie('polynomial'), tie('polynomial'))
    .map(
      ([a, b]): Pair => ({ dim: multiplyDims(a.dim, b.dim), at: (values) => a.at(values) * b.at(values) }),
    ),
  polynomial: fc.oneof({ maxDepth: 3, withCrossShrink: true }, tie('leaf'), tie('sum'), tie('product')),
}))
const small = { numRuns: 300 }

describe('polynomials', () => {
  test('evaluation is a homomorphism', () => {
    fc.assert(
      fc.property(polynomial, bindings, ({ dim, at }, values) => {
        expect(evaluateDim(dim, values)).toBeCloseTo(at(values), 0)
      }),
      small,
    )
  })
  test('the normal form does not depend on order', () => {
    fc.assert(
      fc.property(polynomial, polynomial, polynomial, ({ dim: a }, { dim: b }, { dim: c }) => {
        expect(sameDim(addDims(a, b), addDims(b, a))).toBe(true)
        expect(sameDim(multiplyDims(a, b), multiplyDims(b, a))).toBe(true)
        expect(sameDim(addDims(addDims(a, b), c), addDims(a, addDims(b, c)))).toBe(true)
        expect(sameDim(multiplyDims(a, addDims(b, c)), addDims(multiplyDims(a, b), multiplyDims(a, c)))).toBe(
          true,
        )
      }),
      small,
    )
  })
  test('subtraction undoes addition, division undoes multiplication', () => {
    fc.assert(
      fc.property(polynomial, polynomial, ({ dim: a }, { dim: b }) => {
        expect(sameDim(subtractDims(addDims(a, b), b), a)).toBe(true)
        const quotient = divideDims(multiplyDims(a, b), b)
        if (b === 0) expect(quotient).toBeUndefined()
        else expect(sameDim(quotient!, a)).toBe(true)
      }),
      small,
    )
  })
  test('a quotient times the divisor is the dividend', () => {
    fc.assert(
      fc.property(polynomial, polynomial, ({ dim: a }, { dim: b }) => {
        const quotient = divideDims(a, b)
        if (quotient !== undefined) expect(sameDim(multiplyDims(quotient, b), a)).toBe(true)
      }),
      small,
    )
  })
  test('equal texts are equal polynomials', () => {
    fc.assert(
      fc.property(polynomial, polynomial, ({ dim: a }, { dim: b }) => {
        expect(`${a}` === `${b}`).toBe(subtractDims(a, b) === 0)
      }),
      small,
    )
  })
})

const [n, m] = [symbol('n'), symbol('m')]

test('sums of symbols divide', () => {
  const total = addDims(n, m)
  expect(`${divideDims(sizeOf([2, total, 6]), sizeOf([total, 3]))}`).toBe('4')
  expect(divideDims(total, n)).toBeUndefined()
  expect(divideDims(addDims(n, 1), 2)).toBeUndefined()
  expect(divideDims(0, 0)).toBeUndefined()
})

test('names', () => {
  expect(symbolName(n)).toBe('n')
  expect(symbolName(addDims(n, 1))).toBeUndefined()
  expect(symbolName(multiplyDims(n, n))).toBeUndefined()
  for (const name of ['', '3', 'past+time', 'a*b', 'a b']) expect(() => symbol(name)).toThrow(TypeError)
  expect(() => evaluateDim(n, new Map())).toThrow("the axis symbol 'n' has no value in this run")
})

test('broadcasting', () => {
  expect(broadcastShapes([n, 1], [m])).toEqual([n, m])
  expect(broadcastShapes([n], [m])).toBeUndefined()
  expect(broadcastShapes([n], [5])).toBeUndefined()
  expect(broadcastShapes([0], [1])).toEqual([0])
  expect(broadcastShapes([0], [2])).toBeUndefined()
  expect(broadcastShapes([], [2, n])).toEqual([2, n])
})
