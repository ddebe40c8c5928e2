import { describe, expect, test } from 'vitest'
import { permutation } from './random.ts'
import { concatRows, mapRows, mix, rowsOf, shuffle, skip, split, take } from './rows.ts'
import type { Rows } from './types.ts'

const letters = rowsOf([...'abcdefgh'])
const all = <T>(rows: Rows<T>): (T | Promise<T>)[] =>
  Array.from({ length: rows.length }, (_, i) => rows.at(i))
const text = (rows: Rows<string>): string => all(rows).join('')

describe('the order of a seed', () => {
  test('has each number once, of any length, and differs between seeds and epochs', () => {
    for (const length of [0, 1, 2, 7, 1000]) {
      const sorted = [...permutation(length, 5)].sort((a, b) => a - b)
      expect(sorted).toEqual(Array.from({ length }, (_, i) => i))
    }
    expect(permutation(100, 5, 1)).toEqual(permutation(100, 5, 1))
    const orders = [permutation(100, 5), permutation(100, 5, 1), permutation(100, 6)].map(String)
    expect(new Set(orders).size).toBe(3)
  })

  test('is any of all orders alike', () => {
    const counts = new Map<string, number>()
    const rounds = 24_000
    for (let seed = 0; seed < rounds; seed++) {
      const order = permutation(4, seed).join('')
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    // 24 orders of 1000 each: chi squared with 23 degrees of freedom is above 49.7 once in 1000 times.
    const expected = rounds / 24
    const chiSquared = [...counts.values()].reduce(
      (sum, count) => sum + (count - expected) ** 2 / expected,
      0,
    )
    expect(counts.size).toBe(24)
    expect(chiSquared).toBeLessThan(49.7)
  })
})

describe('rows from rows', () => {
  test('parts', () => {
    expect(text(take(letters, 3))).toBe('abc')
    expect(text(take(letters, 30))).toBe('abcdefgh')
    expect(text(skip(letters, 6))).toBe('gh')
    expect(text(skip(take(letters, 4), 1))).toBe('bcd')
    expect(() => take(letters, 3).at(3)).toThrow('row 3 of 3')
    expect(() => take(letters, -1)).toThrow(RangeError)
  })

  test('one after the other', () => {
    const parts = concatRows(take(letters, 2), take(letters, 0), skip(letters, 5), take(letters, 1))
    expect(text(parts)).toBe('abfgha')
    expect(() => parts.at(6)).toThrow('row 6 of 6')
  })

  test('shuffled, each once an epoch', () => {
    const epochs = [0, 1, 2].map((epoch) => text(shuffle(letters, 1, epoch)))
    for (const epoch of epochs) expect([...epoch].sort().join('')).toBe('abcdefgh')
    expect(new Set(epochs).size).toBe(3)
    expect(text(shuffle(letters, 1, 1))).toBe(epochs[1])
  })

  test('in two parts that share none and miss none', () => {
    const { train, validation } = split(letters, { validation: 0.25, seed: 3 })
    expect([train.length, validation.length]).toEqual([6, 2])
    expect([...text(train), ...text(validation)].sort().join('')).toBe('abcdefgh')
    expect(text(train)).toBe([...text(train)].sort().join(''))
    expect(text(split(letters, { validation: 0.25, seed: 3 }).validation)).toBe(text(validation))
    for (const share of [0, 1, -1, 0.99])
      expect(() => split(letters, { validation: share })).toThrow(RangeError)
  })

  test('changed as they are asked for, of promises too', async () => {
    expect(text(mapRows(letters, (letter, index) => `${letter}${index}`))).toBe('a0b1c2d3e4f5g6h7')
    const slow: Rows<string> = { length: 1, at: async () => 'x' }
    expect(await mapRows(slow, (letter) => letter.toUpperCase()).at(0)).toBe('X')
  })

  test('stamps tell them apart, and are unknown for rows in memory', () => {
    const rows = { ...letters, stamp: 'letters' }
    const made = [
      take(rows, 3),
      take(rows, 4),
      skip(rows, 3),
      shuffle(rows, 1),
      shuffle(rows, 1, 1),
      concatRows(rows, rows),
      mapRows(rows, String, 'string'),
      split(rows, { validation: 0.5 }).train,
      split(rows, { validation: 0.5 }).validation,
      mix([{ rows, weight: 1 }]),
    ]
    expect(new Set(made.map(({ stamp }) => stamp)).size).toBe(made.length)
    expect(mapRows(rows, String).stamp).toBeUndefined()
    expect(concatRows(rows, letters).stamp).toBeUndefined()
  })
})

describe('mixtures', () => {
  const many = (letter: string, length: number): Rows<string> => ({
    length,
    at: (index) => `${letter}${index}`,
  })
  const parts = [
    { rows: many('a', 9000), weight: 3 },
    { rows: many('b', 9000), weight: 1 },
  ]

  test('draw by weight, each part in its order', () => {
    const mixed = mix(parts, { seed: 4 })
    const drawn = all(mixed) as string[]
    const [a, b] = ['a', 'b'].map((letter) => drawn.filter((row) => row.startsWith(letter)))
    expect(a).toEqual(all(parts[0]!.rows))
    expect(b).toEqual(all(take(parts[1]!.rows, b!.length)))
    // 12,000 draws at 1/4 have a standard deviation of 47.
    expect(Math.abs(b!.length - 3000)).toBeLessThan(200)
    expect(all(mix(parts, { seed: 4 }))).toEqual(drawn)
    expect(all(mix(parts, { seed: 5 }))).not.toEqual(drawn)
  })

  test('until every row has occurred, shorter parts anew', () => {
    const drawn = all(
      mix(
        [
          { rows: many('a', 3), weight: 1 },
          { rows: many('b', 50), weight: 1 },
        ],
        { until: 'all' },
      ),
    )
    expect(new Set(drawn).size).toBe(53)
    const a = drawn.filter((row) => (row as string).startsWith('a'))
    expect(a.slice(0, 7)).toEqual(['a0', 'a1', 'a2', 'a0', 'a1', 'a2', 'a0'])
  })

  test('of nothing are errors', () => {
    expect(() => mix([])).toThrow(RangeError)
    expect(() => mix([{ rows: letters, weight: 0 }])).toThrow('weight above 0')
    expect(() => mix([{ rows: take(letters, 0), weight: 1 }])).toThrow('0 rows')
  })
})
