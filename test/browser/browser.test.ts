/** The library in Chromium, where it is installed: the starter model on WebAssembly and WebGPU against Node. */
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { load } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { type Outcome, scenario } from './scenario.ts'

const executable = ['/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => existsSync(path))
const here = fileURLToPath(new URL('.', import.meta.url))
const starter = join(here, '../../models/starter')

/** Relative to 1 + |expected|: f32 sums in another order, in 4 layers and their gradients. */
const tolerance = 1e-4
/** AdamW divides a gradient by its own size: where that is near zero, rounding decides its direction. */
const trainedTolerance = 1e-4

const everything = { maxTokens: 16, train: true }

describe.skipIf(!executable)('in a browser', () => {
  let server: Server
  let browser: Browser
  let url: string
  let expected: Outcome

  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [join(here, 'page.ts')],
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      conditions: ['onnxruntime-web-use-extern-wasm'],
      // What `using` needs is newer than some browsers.
      target: 'es2022',
    })
    const ort = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'))
    server = createServer((request, response) => {
      const path = request.url ?? '/'
      const name = basename(path)
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
      const send = (type: string, body: string | Uint8Array) =>
        response.setHeader('Content-Type', type).end(body)
      if (path === '/') send('text/html', '<!doctype html><script type="module" src="/page.js"></script>')
      else if (path === '/page.js') send('text/javascript', outputFiles[0]!.contents)
      else if (path.startsWith('/model/')) send('application/octet-stream', readFileSync(join(starter, name)))
      else if (path.startsWith('/ort/'))
        send(name.endsWith('.wasm') ? 'application/wasm' : 'text/javascript', readFileSync(join(ort, name)))
      else response.writeHead(404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    browser = await chromium.launch({
      executablePath: executable!,
      args: [
        '--no-sandbox',
        '--enable-unsafe-webgpu',
        '--use-webgpu-adapter=swiftshader',
        '--enable-features=Vulkan',
      ],
    })
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    await using engine = new Engine(nodeRuntime({ threads: 1 }))
    expected = await scenario(engine, load(starter), everything)
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    server?.close()
  })

  /** A page of its own: a page has one ONNX Runtime, with one number of threads. */
  async function evaluate<T>(expression: string): Promise<T> {
    const page = await browser.newPage()
    try {
      await page.goto(url)
      await page.waitForFunction('globalThis.run !== undefined')
      return await page.evaluate<T>(expression)
    } finally {
      await page.close()
    }
  }

  function expectSame(actual: Outcome, maxTokens: number): void {
    expect(actual.tokens).toEqual(expected.tokens.slice(0, maxTokens))
    expectNear(actual.tap, expected.tap, tolerance)
    if (actual.loss === undefined) return
    expectNear([actual.loss], [expected.loss!], tolerance)
    expectNear(actual.squares!, expected.squares!, trainedTolerance)
  }

  test.each([1, 2])('WebAssembly with %i threads', async (threads) => {
    const actual = await evaluate<Outcome>(`run('wasm', ${threads}, ${JSON.stringify(everything)})`)
    expectSame(actual, everything.maxTokens)
    expect(actual.text).toBe(expected.text)
  })
  // SwiftShader, a GPU in software, takes seconds for a token; AdamW needs a cast to f64, which it lacks.
  test('WebGPU', { timeout: 240_000 }, async (context) => {
    context.skip(!(await evaluate<boolean>('hasWebGpu()')), 'no adapter for WebGPU')
    const options = { maxTokens: 4, train: true }
    expectSame(await evaluate<Outcome>(`run('webgpu', 1, ${JSON.stringify(options)})`), options.maxTokens)
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
