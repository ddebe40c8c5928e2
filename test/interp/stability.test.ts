/** Features in common, and layers that are alike: cases with known answers. */
import { afterAll, describe, expect, test } from 'vitest'
import { random, tensor } from '../../src/array/index.ts'
import { ActivationSource } from '../../src/interp/activations/index.ts'
import {
  amad,
  angularDistances,
  layerGroups,
  matchSaes,
  type Sae,
  shareOf,
} from '../../src/interp/sae/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tinyCorpus, tinyModel } from './tiny.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const [width, features] = [24, 60]

/** Rows for the decoder; the encoder is its transpose where nothing else is given. */
function saeOf(decoder: readonly (readonly number[])[], encoder = decoder): Sae {
  const dSae = decoder.length
  const columns = Float32Array.from(
    { length: width * dSae },
    (_, at) => encoder[at % dSae]![Math.floor(at / dSae)]!,
  )
  const sizes = { dIn: width, dOut: width, dSae, transcoder: false, subtractBias: true }
  return {
    config: { architecture: 'topk', k: 4, normalize: 'none', ...sizes },
    params: {
      W_enc: tensor(columns, [width, dSae]),
      W_dec: tensor(Float32Array.from(decoder.flat()), [dSae, width]),
      b_dec: tensor(new Float32Array(width)),
      b_enc: tensor(new Float32Array(dSae)),
    },
  }
}
const rowsOf = (count: number, seed: number): number[][] => {
  const draw = random.gaussian(seed)
  return Array.from({ length: count }, () => Array.from({ length: width }, draw))
}
const order = Array.from({ length: features }, (_, i) => (i * 7 + 3) % features)

describe('matching SAEs', () => {
  test('an SAE with its features in another order and of other sizes has all in common', async () => {
    const rows = rowsOf(features, 1)
    const scaled = order.map((i) => rows[i]!.map((value) => value * (1 + (i % 5))))
    const found = await matchSaes(engine, saeOf(rows), saeOf(scaled))
    expect(found.share).toBe(1)
    expect([...found.decoder.counterpart].map((j) => order[j])).toEqual(order.map((_, i) => i))
  })

  test('random directions have nothing in common', async () => {
    const found = await matchSaes(engine, saeOf(rowsOf(features, 1)), saeOf(rowsOf(features, 2)))
    expect(found.share).toBeLessThan(0.1)
  })

  test('half of the features: the share is a half; those in common are named', async () => {
    const [rows, others] = [rowsOf(features, 1), rowsOf(features, 2)]
    const mixed = order.map((i) => (i < features / 2 ? rows[i]! : others[i]!))
    const { shared, share } = await matchSaes(engine, saeOf(rows), saeOf(mixed))
    expect(share).toBeCloseTo(0.5, 1)
    for (let i = 0; i < features / 2; i++) expect(shared[i]).toBe(1)
    expect(
      shareOf(
        shared,
        shared.map((_, i) => Number(i < features / 2)),
      ),
    ).toBe(1)
  })

  test('decoders alone are not enough: encoders have to agree', async () => {
    const rows = rowsOf(features, 1)
    const found = await matchSaes(engine, saeOf(rows), saeOf(rows, rowsOf(features, 3)))
    expect(Math.min(...found.decoder.cosine)).toBeCloseTo(1, 5)
    expect(found.share).toBeLessThan(0.1)
  })

  test('one with fewer features comes first', async () => {
    const rows = rowsOf(features, 1)
    expect((await matchSaes(engine, saeOf(rows.slice(0, 20)), saeOf(rows))).share).toBe(1)
    await expect(matchSaes(engine, saeOf(rows), saeOf(rows.slice(0, 20)))).rejects.toThrow(
      'fewer features first',
    )
  })
})

describe('layer groups', () => {
  // Five layers: 0-1 and 2-3 are close, 1-2 and 3-4 are not, and 0 is far from 4.
  const distances = [
    [0, 1, 5, 6, 9],
    [1, 0, 4, 5, 9],
    [5, 4, 0, 2, 7],
    [6, 5, 2, 0, 6],
    [9, 9, 7, 6, 0],
  ].flat()

  test('by hand, with complete linkage', () => {
    expect(layerGroups(distances, 5, 5)).toEqual([[0], [1], [2], [3], [4]])
    expect(layerGroups(distances, 5, 4)).toEqual([[0, 1], [2], [3], [4]])
    expect(layerGroups(distances, 5, 3)).toEqual([[0, 1], [2, 3], [4]])
    // {0,1} and {2,3} are 6 apart, {2,3} and {4} are 7: single linkage would say 4 and 6.
    expect(layerGroups(distances, 5, 2)).toEqual([[0, 1, 2, 3], [4]])
    expect(amad([[0, 1], [2, 3], [4]], distances, 5)).toBe(1)
    expect(amad([[0, 1, 2, 3], [4]], distances, 5)).toBe(3)
    expect(() => layerGroups(distances, 5, 6)).toThrow('6 groups of 5 layers')
  })

  test('groups stay contiguous where layers far apart are alike', () => {
    // 0 and 2 are next to each other in distance, not in depth.
    expect(layerGroups([0, 3, 1, 3, 0, 2, 1, 2, 0], 3, 2)).toEqual([[0], [1, 2]])
  })

  test('angles are those of the activations', async () => {
    const model = tinyModel(engine)
    const sites = ['hook_embed', 'blocks.0.hook_resid_post', 'blocks.1.hook_resid_post']
    const source = new ActivationSource({
      model,
      tokens: tinyCorpus(600),
      sites,
      length: 20,
      windows: 4,
      exclude: [0],
    })
    const found = await angularDistances(source, 300)
    const sums = new Float64Array(9)
    let tokens = 0
    for (let chunk = 0; tokens < 300; chunk++) {
      const { count, rows } = await source.at(chunk)
      tokens += count
      for (let row = 0; row < count; row++)
        for (let p = 0; p < 3; p++)
          for (let q = 0; q < 3; q++) {
            const [a, b] = [p, q].map((i) => rows[sites[i]!]!.subarray(row * 16, (row + 1) * 16)) as [
              Float32Array,
              Float32Array,
            ]
            const dot = a.reduce((sum, value, i) => sum + value * b[i]!, 0)
            sums[p * 3 + q]! += p === q ? 0 : Math.acos(dot / Math.hypot(...a) / Math.hypot(...b)) / Math.PI
          }
    }
    expect(found.tokens).toBe(tokens)
    for (let i = 0; i < 9; i++) expect(found.values[i]).toBeCloseTo(sums[i]! / tokens, 5)
    expect(found.values[1]).toBeGreaterThan(0.05)
  })
})
