/** The same graphs on the GPU, or on SwiftShader, as on the processor; and where their results are. */
import { describe, expect, test } from 'vitest'
import {
  addLayerNorm,
  addRmsNorm,
  grad,
  layerNorm,
  rmsNorm,
  scan,
  softmax,
  type Tensor,
  tensor,
  trace,
  zeros,
} from '../../src/array/index.ts'
import { chooseProvider, Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { openGpu } from '../webgpu.ts'
import { expectClose, floats, toNd } from './support.ts'

/** Relative to 1 + |expected|: sums in another order, and approximate exponentials. */
const tolerance = 1e-4

const gpu = await openGpu()
const cpu = new Engine(nodeRuntime({ threads: 1 }))

const cases: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  matmul: (x) => x.matmul(x, { transposeB: true }),
  softmax: (x) => softmax(x),
  rmsNorm: (x) => rmsNorm(x, floats([32], 2), 1e-5),
  elementwise: (x) => x.tanh().mul(x.exp()).add(x.sigmoid()),
  layout: (x) => x.slice(1, 3, 17).transpose().sum(-1),
  scan: (x) => scan((h: Tensor, x: Tensor) => [h.mul(0.5).add(x), h.tanh()] as const, x.mean(0), x).ys,
}
/** Norms give their gradients' statistics in a second output, which ONNX Runtime leaves unwritten here. */
const norms: Readonly<Record<string, (x: Tensor, weight: Tensor) => Tensor>> = {
  rmsNorm: (x, weight) => rmsNorm(x, weight, 1e-5),
  layerNorm: (x, weight) => layerNorm(x, weight, weight, 1e-5),
  addRmsNorm: (x, weight) => addRmsNorm(x, x.mul(0.5), weight, 1e-5).normal,
  addLayerNorm: (x, weight) => addLayerNorm(x, x.mul(0.5), weight, weight, 1e-5).normal,
}
test.skipIf(!gpu).each(Object.keys(norms))('gradients of %s', async (name) => {
  const loss = (at: { x: Tensor; weight: Tensor }): Tensor =>
    norms[name]!(at.x, at.weight)
      .mul(floats([2, 4, 32], 5))
      .sum()
  const at = { x: floats([2, 4, 32], 3), weight: floats([32], 4) }
  const [there, here] = [await gpu!.jit(grad(loss))(at), await cpu.jit(grad(loss))(at)]
  for (const key of ['x', 'weight'] as const) expectClose(toNd(there[key]), toNd(here[key]), tolerance)
})

test.skipIf(!gpu).each(Object.keys(cases))('%s', async (name) => {
  const y = cases[name]!(floats([16, 32]))
  expectClose(toNd(await gpu!.compute(y)), toNd(await cpu.compute(y)), tolerance)
})

describe.skipIf(!gpu)('results on the device', () => {
  const [rows, columns] = [64, 64]
  const expectAll = (data: ArrayLike<unknown>, value: number) =>
    expect(new Set(Array.from(data, Number))).toEqual(new Set([value]))
  const ones = () => tensor(new Float32Array(rows * columns).fill(1), [rows, columns])

  test('take turns where no operator writes over them', async () => {
    using f = gpu!.jit((k: Tensor) => ({ k: k.mul(2) }), { inPlace: { k: '0' } })
    const { k: first } = await f(ones())
    const { k: second } = await f(first)
    expect(() => first.data).toThrow('disposed')
    expectAll((await f(second)).k.data, 8)
  })

  test('are read at once, or after load() while a program runs', async () => {
    const y = await gpu!.compute(ones().mul(3))
    const program = await gpu!.compile(trace((x: Tensor) => x.mul(5), [y]).graph)
    const run = program.run([y])
    expect(() => y.data).toThrow('await its load() before reading it')
    expectAll(await y.load(), 3)
    const [z] = await run
    expectAll(z!.data, 15)
    y.dispose()
    expect(() => y.data).toThrow('disposed')
    program.dispose()
  })

  test('go from one engine to another', async () => {
    const y = await gpu!.compute(ones().mul(3))
    expectAll((await cpu.compute(y.add(1))).data, 4)
    expectAll((await gpu!.compute(y.add(1))).data, 4)
  })

  test('leave memory as it was when they are disposed of, or dropped', async () => {
    const megabytes = 4
    using f = gpu!.jit((x: Tensor) => x.add(1))
    const x = zeros([megabytes << 8, 1 << 10])
    const round = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) {
        const y = await f(x)
        if (i % 2) y.dispose()
      }
      return process.memoryUsage().rss / 2 ** 20
    }
    const before = await round(100)
    const after = await round(200)
    // Half of them would be 400 MB.
    expect(after - before).toBeLessThan(200)
  })
})

test('the fastest provider is chosen, with the figures', async () => {
  const { provider, reason } = await chooseProvider()
  expect(['cpu', ...(gpu ? ['webgpu'] : [])]).toContain(provider)
  expect(reason).toMatch(/^a product of 64x1024x1024 takes .*cpu \d/)
  if (!gpu) expect(reason).toContain('webgpu does not run here')
})
