/** Dropout: which channels go is that of the host's generator, and what is measured knows nothing of it. */
import { afterAll, expect, it } from 'vitest'
import { tinyLlama } from '../../test/tinyLlama.ts'
import { random, type Tensor, tensor } from '../array/index.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { dropout } from './dropout.ts'
import { initialize, nextToken } from './index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const { spec, names } = tinyLlama
const ones = (...shape: number[]): Tensor =>
  tensor(new Float32Array(shape.reduce((a, b) => a * b)).fill(1), shape)
const written = [
  'hook_embed',
  'blocks.0.hook_attn_out',
  'blocks.0.hook_mlp_out',
  'blocks.1.hook_attn_out',
  'blocks.1.hook_mlp_out',
]

it('drops the same channels at all positions of a row, others in the next row, site and step', async () => {
  using drop = engine.jit((x: Tensor, key: Tensor) =>
    Object.values(dropout(spec, 0.25, key)).map((edit) => (edit as (x: Tensor) => Tensor)(x)),
  )
  expect(Object.keys(dropout(spec, 0.25, random.key(1)))).toEqual(written)
  const seen = new Set<string>()
  for (const seed of [3, 4]) {
    const found = await drop(ones(2, 3, 16), random.key(seed))
    found.forEach((masked, site) => {
      const draw = random.generator(random.fold(seed, site))
      for (let row = 0; row < 2; row++) {
        const mask = Array.from({ length: 16 }, () => (draw() < 0.75 ? Math.fround(1 / 0.75) : 0))
        seen.add(`${mask}`)
        for (let position = 0; position < 3; position++)
          expect([...masked.data.subarray((row * 3 + position) * 16).slice(0, 16)]).toEqual(mask)
      }
    })
  }
  expect(seen.size).toBe(2 * written.length * 2)
})

it('keeps the mean, and none at a rate of 0', async () => {
  expect(dropout(spec, 0, random.key(1))).toEqual({})
  expect(() => dropout(spec, 1, random.key(1))).toThrow('dropout: a rate is in [0, 1), not 1')
  using mean = engine.jit((x: Tensor, key: Tensor) => {
    const edit = dropout(spec, 0.2, key).hook_embed as (x: Tensor) => Tensor
    return edit(x).mean()
  })
  // 32,000 channels of deviation 0.5.
  expect(Math.abs((await mean(ones(2000, 1, 16), random.key(5))).item() - 1)).toBeLessThan((4 * 0.5) / 179)
})

it('is in the loss that is learned, anew with every key', async () => {
  const params = initialize(spec, { seed: 1, deviation: 0.3, names })
  const tokens = tensor(
    Int32Array.from({ length: 24 }, (_, i) => (i * 7) % 11),
    [2, 12],
  )
  const lossOf = async (rate: number, seed: number): Promise<number> => {
    using loss = engine.jit(
      (p: typeof params, tokens: Tensor, key: Tensor) =>
        nextToken(spec, { dropout: rate }).loss(p, { tokens }, key).sum,
    )
    return (await loss(params, tokens, random.key(seed))).item()
  }
  const [none, other, dropped, again, anew] = [
    await lossOf(0, 1),
    await lossOf(0, 2),
    await lossOf(0.3, 1),
    await lossOf(0.3, 1),
    await lossOf(0.3, 2),
  ]
  expect(other).toBe(none)
  expect(again).toBe(dropped)
  expect(new Set([none, dropped, anew]).size).toBe(3)
})
