/** The library in Chromium, where it is installed: the starter model on WebAssembly and WebGPU against Node. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { load } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { executable, type OpenBrowser, openBrowser } from './open.ts'
import { type Outcome, scenario } from './scenario.ts'

const starter = fileURLToPath(new URL('../../models/starter', import.meta.url))

/** Relative to 1 + |expected|: f32 sums in another order, in 4 layers and their gradients. */
const tolerance = 1e-4
/** AdamW divides a gradient by its own size: where that is near zero, rounding decides its direction. */
const trainedTolerance = 1e-4

const everything = { maxTokens: 16, train: true }

describe.skipIf(!executable)('in a browser', () => {
  let browser: OpenBrowser
  let expected: Outcome

  beforeAll(async () => {
    browser = await openBrowser()
    await using engine = new Engine(nodeRuntime({ threads: 1 }))
    expected = await scenario(engine, load(starter), everything)
  }, 60_000)
  afterAll(() => browser?.[Symbol.asyncDispose]())

  async function evaluate<T>(expression: string): Promise<T> {
    const page = await browser.newPage()
    try {
      return await page.evaluate<T>(expression)
    } finally {
      await page.close()
    }
  }

  function expectSame(actual: Outcome, maxTokens: number): void {
    expectNear(actual.logits, expected.logits, tolerance)
    expect(actual.tokens).toEqual(expected.tokens.slice(0, maxTokens))
    expectNear(actual.tap, expected.tap, tolerance)
    expectNear(actual.steered, expected.steered, tolerance)
    expect(actual.steeredPrograms).toBe(1)
    if (actual.loss === undefined) return
    expectNear([actual.loss], [expected.loss!], tolerance)
    expectNear(actual.squares!, expected.squares!, trainedTolerance)
  }

  test.each([1, 2])('WebAssembly with %i threads', async (threads) => {
    const actual = await evaluate<Outcome>(`run('wasm', ${threads}, ${JSON.stringify(everything)})`)
    expectSame(actual, everything.maxTokens)
    expect(actual.text).toBe(expected.text)
    expect(actual.inPlace).toEqual([false, false])
  })
  // SwiftShader, a GPU in software, takes half a minute to compile the shaders.
  test('WebGPU', { timeout: 240_000 }, async (context) => {
    context.skip(!(await evaluate<boolean>('hasWebGpu()')), 'no adapter for WebGPU')
    const options = { maxTokens: 4, train: true }
    const actual = await evaluate<Outcome>(`run('webgpu', 1, ${JSON.stringify(options)})`)
    expectSame(actual, options.maxTokens)
    // The first cache came from the host.
    expect(actual.inPlace).toEqual([false, true])
  })
  test('a result on the device is read with load(), after its program is gone too', async (context) => {
    context.skip(!(await evaluate<boolean>('hasWebGpu()')), 'no adapter for WebGPU')
    expect(await evaluate('readLate()')).toEqual({
      early: 'this tensor is on the GPU: await its load() before reading it',
      values: [1, 1],
    })
  })
  test('another number of threads in one page is refused', async () => {
    const twice = "run('wasm', 1, { maxTokens: 1, train: false }).then(() => run('wasm', 2, {}))"
    await expect(evaluate(twice)).rejects.toThrow('runs ONNX Runtime with 1 threads already, not 2')
  })
})

function expectNear(actual: readonly number[], wanted: readonly number[], limit: number): void {
  expect(actual).toHaveLength(wanted.length)
  const distances = wanted.map((value, i) => Math.abs(value - actual[i]!) / (1 + Math.abs(value)))
  expect(Math.max(...distances)).toBeLessThan(limit)
}
