/** When predictions saturate, clusters of value vectors, and the exit rule, on small made-up cases. */
import { describe, expect, it } from 'vitest'
import { random } from '../../src/array/index.ts'
import { clusterValues, SaturationRule, saturationLayers } from '../../src/interp/saturation.ts'

it('a prediction saturates where the last token begins to lead for good', () => {
  // Layers downwards, four positions.
  const predictions = [
    [5, 5, 1, 9],
    [5, 2, 7, 8],
    [5, 5, 7, 7],
    [5, 5, 7, 6],
  ]
  expect([...saturationLayers(predictions.flat(), 4)]).toEqual([0, 2, 1, 3])
  expect(() => saturationLayers([1, 2, 3], 2)).toThrow(/not those of 2 layers/)
})

describe('clusters', () => {
  const [width, vocab] = [3, 5]
  const gaussian = random.gaussian(4)
  const readout = Float32Array.from({ length: width * vocab }, gaussian)
  /** Vectors around two directions, some reversed. */
  const vectors = [0, 1].map(() => {
    const layer = new Float32Array(8 * width)
    for (let i = 0; i < 8; i++) {
      const [axis, sign] = [i % 2, i < 4 ? 1 : -1]
      for (let k = 0; k < width; k++) layer[i * width + k] = sign * (k === axis ? 3 : 0) + 0.02 * gaussian()
    }
    return layer
  })

  it('hold what promotes the same, each end of a vector for itself', () => {
    const clusters = clusterValues(vectors, readout, width, { clusters: 4, seed: 1 })
    expect(clusters.map((one) => one.length)).toEqual([16, 16])
    const ends = clusters.flatMap((layer) =>
      Array.from({ length: 16 }, (_, end) => {
        const i = end >> 1
        const sign = (i < 4 ? 1 : -1) * (end % 2 === 0 ? 1 : -1)
        return { kind: `${sign}${i % 2}`, cluster: layer[end]! }
      }),
    )
    const kinds = new Map<string, Set<number>>()
    for (const { kind, cluster } of ends) kinds.set(kind, (kinds.get(kind) ?? new Set()).add(cluster))
    expect(kinds.size).toBe(4)
    for (const found of kinds.values()) expect(found.size).toBe(1)
    expect(new Set([...kinds.values()].map((found) => [...found][0])).size).toBe(4)
  })

  it('are those of the cosine over the vocabulary', () => {
    // In the stream a and b are as near to each other as b and c; only a and b say the same.
    const flat = Float32Array.from([1, 1, 0, 0, 0, 0, 0, 0, 1, -1, 0, 0, 0, 0, 0])
    const three = Float32Array.from([1, 0, 0, 1, 0, 1, 0, 0, 1])
    const [own] = clusterValues([three], flat, 3, { clusters: 2, seed: 3 })
    expect(own![0]).toBe(own![2])
    expect(() => clusterValues([three], flat, 3, { clusters: 4, seed: 1 })).toThrow(/4 clusters of 3/)
  })
})

describe('the exit rule', () => {
  const at = (saturates: number, ...clusters: number[][]) => ({
    saturates,
    clusters: clusters.map((c) => Int32Array.from(c)),
  })
  const rule = new SaturationRule([
    at(0, [1, 2, 3], [9, 9, 9], [9, 9, 9]),
    at(0, [1, 2, 4], [9, 9, 9], [9, 9, 9]),
    at(1, [1, 5, 6], [2, 2, 2], [9, 9, 9]),
    at(2, [7, 7, 7], [2, 2, 5], [3, 3, 3]),
  ])

  it('stops where those that saturate here match best and on average', () => {
    expect(rule.exits(0, [1, 2, 3])).toBe(true)
    // Only order counts: the same clusters in other places match nothing.
    expect(rule.exits(0, [3, 1, 2])).toBe(false)
    // One place of each: no better than the position that saturates later.
    expect(rule.exits(0, [1, 8, 8])).toBe(false)
    expect(rule.exits(1, [2, 2, 2])).toBe(true)
    expect(rule.exits(1, [2, 2, 5])).toBe(false)
    expect(
      rule.exitLayer([
        [8, 8, 8],
        [2, 2, 2],
        [0, 0, 0],
      ]),
    ).toBe(1)
    expect(
      rule.exitLayer([
        [8, 8, 8],
        [8, 8, 8],
        [0, 0, 0],
      ]),
    ).toBe(2)
  })

  it('refuses what it does not know', () => {
    expect(() => rule.exits(3, [1])).toThrow(/knows 3 layers/)
    expect(() => new SaturationRule([])).toThrow(/no position is known/)
  })
})
