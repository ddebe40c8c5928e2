/** The studio as a folder of files: the model runs inside the page, and nothing but files is asked for. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import { executable, softwareWebGpu } from '../browser/open.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const out = join(root, 'dist/studio-static')
const types: Readonly<Record<string, string>> = {
  ...{ '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css' },
  ...{ '.wasm': 'application/wasm', '.json': 'application/json' },
}

describe.skipIf(!executable)('the static studio', { timeout: 180_000 }, () => {
  let server: Server
  let browser: Browser
  let page: Page
  let url: string
  const problems: string[] = []
  const methods: string[] = []

  beforeAll(async () => {
    const vite = join(root, 'node_modules/vite/bin/vite.js')
    execFileSync(process.execPath, [vite, 'build', '--config', 'vite.static.config.ts', '--mode', 'static'], {
      ...{ cwd: root, stdio: 'ignore' },
      env: { ...process.env, STUDIO_MODELS: 'tiny,default' },
    })
    server = createServer((request, response) => {
      methods.push(request.method!)
      const path = new URL(request.url!, 'http://x').pathname
      const file = join(out, path === '/' ? 'index.html' : path)
      if (!existsSync(file)) return response.writeHead(404).end()
      response.setHeader('Content-Type', types[extname(file)] ?? 'application/octet-stream')
      response.end(readFileSync(file))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    browser = await chromium.launch({ executablePath: executable!, args: ['--no-sandbox'] })
    page = await browser.newPage()
    page.on('pageerror', (error) => problems.push(error.message))
  }, 180_000)
  afterAll(async () => {
    await browser?.close()
    server?.close()
  })

  const open = async (path: string): Promise<void> => {
    await page.goto('about:blank')
    await page.goto(`${url}/#/${path}`)
    await page.getByRole('heading', { level: 1 }).waitFor()
  }

  /** Greedily, what the model writes in Node. */
  const expectWritten = async (where: Page, maxTokens: number): Promise<void> => {
    await where.getByRole('button', { name: 'Write', exact: true }).click()
    await where.getByText('ended by').waitFor({ timeout: 150_000 })
    await using engine = new Engine(nodeRuntime({ threads: 1 }))
    const model = Model.open(bundledModel('tiny')!, engine)
    const [own] = await complete(model, ['The little dog'], { temperature: 0, maxTokens })
    const shown = await where.getByRole('group', { name: 'text' }).locator('button').allTextContents()
    expect(shown.slice(-own!.tokens.length).join('')).toBe(own!.text)
  }

  it('writes what the model writes in Node', async () => {
    await open('write?model="tiny"&temperature=0&maxTokens=20&prompt="The little dog"')
    await expectWritten(page, 20)
  })

  it('writes the same on WebGPU', async (context) => {
    const other = await chromium.launch({
      executablePath: executable!,
      args: ['--no-sandbox', ...softwareWebGpu],
    })
    try {
      const own = await other.newPage()
      await own.goto(`${url}/#/write?model="tiny"&temperature=0&maxTokens=6&prompt="The little dog"`)
      const adapter = 'navigator.gpu?.requestAdapter().then((found) => found !== null) ?? false'
      context.skip(!(await own.evaluate(adapter)), 'no adapter for WebGPU')
      await expectWritten(own, 6)
    } finally {
      await other.close()
    }
  })

  it('finds features of the default model, and turns one while text streams', async () => {
    await open('features?model="default"&sae="layer-4"&prompt="One day"')
    await page.locator('.entry').first().click({ timeout: 60_000 })
    await page.getByText('What it makes likely, and unlikely').waitFor({ timeout: 90_000 })
    expect(await page.locator('.chip').count()).toBe(20)
    // What is copied is a command for a clone of the repository.
    expect(await page.locator('pre, code').allTextContents()).toContainEqual(
      expect.stringContaining('--with sae-steer:sae=models/saes/layer-4,feature='),
    )
    await page.getByLabel(/^Strength/).fill('12')
    await page.waitForFunction(
      `(document.querySelector('.written')?.textContent.length ?? 0) > 40 || document.querySelector('[role=alert]')`,
    )
    expect(await page.getByRole('alert').allTextContents()).toEqual([])
    await page.getByRole('button', { name: 'Read', exact: true }).click()
    await page.getByRole('region', { name: 'active features' }).waitFor({ timeout: 60_000 })
    expect(problems).toEqual([])
  })

  it('trains, stops, goes on, and writes with what it has learned', async () => {
    await open('train?model="tiny"&steps=30&batch=2&length=32')
    const button = (name: string) => page.getByRole('button', { name, exact: true })
    await button('Start').click()
    await page.getByText(/step \d+ of 30/).waitFor({ timeout: 60_000 })
    await button('Stop').click()
    await page.getByText('its state is saved').waitFor()
    await button('Go on').click()
    await page.getByText("done: the model 'mine' is here").waitFor({ timeout: 60_000 })
    expect(await page.locator('figure polyline').count()).toBe(2)
    await page.getByRole('link', { name: 'Write', exact: true }).click()
    await page.getByLabel('Model').selectOption('mine')
    await page.getByLabel('Tokens').fill('10')
    await button('Write').click()
    await page.getByText('ended by').waitFor({ timeout: 60_000 })
    expect(problems).toEqual([])
  })

  it('looks inside, steers, and shows the measured methods', async () => {
    await open('look?model="tiny"')
    await page.getByRole('region', { name: 'lens' }).waitFor({ timeout: 60_000 })
    await open('steer?model="tiny"')
    await page.getByRole('button', { name: 'Learn', exact: true }).click()
    await page.getByText(/^learned: norms/).waitFor({ timeout: 60_000 })
    await page.getByLabel(/^happy:/).fill('2')
    await page.getByRole('button', { name: 'Write', exact: true }).click()
    await page.waitForFunction(`(document.querySelector('p.card')?.textContent.length ?? 0) > 40`)
    expect(await page.getByRole('alert').allTextContents()).toEqual([])
    await open('methods')
    await page.getByRole('button', { name: 'lm-steer', exact: true }).click()
    expect(await page.locator('.card').last().textContent()).toMatch(/Measured:/)
    expect(problems).toEqual([])
    expect(new Set(methods)).toEqual(new Set(['GET']))
  })
})
