import { describe, expect, it } from 'vitest'
import { coveringBatches, PackedBatches } from './packed.ts'

/** Numbers that say where they stand. */
const counting = (length: number, from = 0): Int32Array => Int32Array.from({ length }, (_, i) => from + i)
const startsOf = (batches: PackedBatches, count: number, length: number): number[] =>
  Array.from({ length: count }, (_, i) => batches.at(i)).flatMap(({ tokens }) => {
    const data = tokens.data as Int32Array
    return Array.from({ length: tokens.sizes[0]! }, (_, row) => data[row * (length + 1)]!)
  })

describe('packed batches', () => {
  const options = { sources: [{ tokens: counting(1000) }], batch: 4, length: 10, seed: 3 }

  it('are windows of neighbours', () => {
    const { tokens } = new PackedBatches(options).at(5)
    expect(tokens.sizes).toEqual([4, 11])
    const data = tokens.data as Int32Array
    for (let row = 0; row < 4; row++)
      for (let i = 1; i < 11; i++) expect(data[row * 11 + i]! - data[row * 11]!).toBe(i)
  })

  it('an epoch takes each window once, without overlap, and the next cuts elsewhere', () => {
    // 1000 tokens: 99 windows of 10 wherever the first begins.
    const starts = startsOf(new PackedBatches({ ...options, batch: 1 }), 198, 10)
    const [first, second] = [starts.slice(0, 99), starts.slice(99)].map((part) =>
      [...part].sort((a, b) => a - b),
    )
    for (const epoch of [first!, second!]) {
      expect(new Set(epoch).size).toBe(99)
      expect(epoch.map((start) => start - epoch[0]!)).toEqual(epoch.map((_, i) => 10 * i))
    }
    expect(starts.slice(0, 99)).not.toEqual(first)
    expect(first![0]).not.toBe(second![0])
  })

  it('are functions of seed and number, in whatever order they are asked for', () => {
    const bytes = (batches: PackedBatches, i: number) => [...(batches.at(i).tokens.data as Int32Array)]
    const [one, other] = [new PackedBatches(options), new PackedBatches(options)]
    const ascending = [0, 1, 40, 300, 301].map((i) => bytes(one, i))
    expect([301, 300, 40, 1, 0].map((i) => bytes(other, i)).reverse()).toEqual(ascending)
    expect(bytes(new PackedBatches({ ...options, seed: 4 }), 0)).not.toEqual(ascending[0])
  })

  it('sources have the share of their weight', () => {
    const sources = [
      { tokens: counting(1000), weight: 3 },
      { tokens: counting(300, 5000), weight: 1 },
    ]
    const starts = startsOf(new PackedBatches({ ...options, sources, batch: 10 }), 200, 10)
    expect(starts.filter((start) => start >= 5000).length).toBe(500)
    const unweighted = sources.map(({ tokens }) => ({ tokens }))
    const plain = startsOf(new PackedBatches({ ...options, sources: unweighted, batch: 10 }), 200, 10)
    // By tokens: 300 of 1300.
    expect(plain.filter((start) => start >= 5000).length).toBe(462)
  })

  it('refuses what it cannot cut', () => {
    expect(() => new PackedBatches({ ...options, sources: [] })).toThrow(/no tokens/)
    expect(() => new PackedBatches({ ...options, length: 600 })).toThrow(/too few for windows of 600/)
    expect(() => new PackedBatches({ ...options, sources: [{ tokens: counting(99), weight: -1 }] })).toThrow(
      /weights/,
    )
  })
})

describe('covering batches', () => {
  it('take every window once, in order, the last batch being smaller', () => {
    const { count, at } = coveringBatches(counting(74), { batch: 3, length: 10 })
    expect(count).toBe(3)
    expect(Array.from({ length: 3 }, (_, i) => at(i).tokens.sizes[0])).toEqual([3, 3, 1])
    expect((at(2).tokens.data as Int32Array)[0]).toBe(60)
  })
})
