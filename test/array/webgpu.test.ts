/** The same graphs on the GPU as on the processor: where there is none, on SwiftShader, which Chromium brings. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import {
  addLayerNorm,
  addRmsNorm,
  grad,
  layerNorm,
  rmsNorm,
  scan,
  softmax,
  type Tensor,
} from '../../src/array/index.ts'
import { Model } from '../../src/model/index.ts'
import { chooseProvider, Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { expectClose, floats, toNd } from './support.ts'

const software = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (existsSync(software)) process.env.VK_ICD_FILENAMES ??= software

/** Relative to 1 + |expected|: sums in another order, and approximate exponentials. */
const tolerance = 1e-4

/** The engine, or undefined where no adapter is found. */
async function openGpu(): Promise<Engine | undefined> {
  try {
    const engine = new Engine(nodeRuntime({ provider: 'webgpu' }))
    await engine.compute(floats([2, 2]).add(1))
    return engine
  } catch {
    return undefined
  }
}
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

const models = ['models/starter', 'test/fixtures/families/mamba']
test.skipIf(!gpu).each(models)('the model %s', { timeout: 180_000 }, async (name) => {
  const path = fileURLToPath(new URL(`../../${name}`, import.meta.url))
  const [there, here] = [gpu!, cpu].map((engine) => Model.open(path, engine))
  const tokens = [[1, 5, 9, 20]]
  const { logits } = await there!.run(tokens)
  expectClose(toNd(logits!), toNd((await here!.run(tokens)).logits!), tolerance)
})

test('the fastest provider is chosen, with the figures', async () => {
  const { provider, reason } = await chooseProvider()
  expect(['cpu', ...(gpu ? ['webgpu'] : [])]).toContain(provider)
  expect(reason).toMatch(/^a product of 64x1024x1024 takes .*cpu \d/)
  if (!gpu) expect(reason).toContain('webgpu does not run here')
})
