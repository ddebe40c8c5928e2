/**
 * The studio in Chromium, where it is installed, on the bundled models: every page is used as a person does. Pictures of what
 * was seen are in test/studio/pictures (not committed).
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import type { Serving } from '../../src/serve/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import { startStudio } from '../../src/studio/index.ts'
import { executable } from '../browser/open.ts'

const contrast = readFileSync(new URL('./contrast.js', import.meta.url), 'utf8')
const pictures = fileURLToPath(new URL('./pictures', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'glossa-studio-'))
const saes = join(bundledModel('default')!, '..', 'saes')

describe.skipIf(!executable)('the studio', { timeout: 120_000 }, () => {
  let studio: Serving
  let browser: Browser
  let page: Page
  const problems: string[] = []
  const engine = new Engine(nodeRuntime({ threads: 1 }))

  beforeAll(async () => {
    mkdirSync(pictures, { recursive: true })
    const models = {
      tiny: { path: bundledModel('tiny')!, threads: 1 },
      default: { path: bundledModel('default')!, threads: 1 },
    }
    const names = existsSync(saes)
      ? readdirSync(saes, { withFileTypes: true }).filter((entry) => entry.isDirectory())
      : []
    studio = await startStudio({
      ...{ models, keep: 2, port: 0, folder, results: 'results', batch: { slots: 4 } },
      saes: Object.fromEntries(names.map(({ name }) => [name, join(saes, name)])),
    })
    browser = await chromium.launch({ executablePath: executable!, args: ['--no-sandbox'] })
    const context = await browser.newContext({
      viewport: { width: 1200, height: 850 },
      permissions: ['clipboard-read', 'clipboard-write'],
    })
    page = await context.newPage()
    page.on('pageerror', (error) => problems.push(error.message))
    page.on('console', (text) => {
      // What is refused is told on the page.
      if (text.type() === 'error' && !/status of 400/.test(text.text())) problems.push(text.text())
    })
  }, 120_000)
  afterAll(async () => {
    await browser?.close()
    await studio?.close(0)
    await engine.dispose()
    rmSync(folder, { recursive: true, force: true })
  })
  afterEach(() => expect(problems.splice(0)).toEqual([]))

  const open = async (path: string): Promise<void> => {
    await page.goto('about:blank')
    await page.goto(`${studio.url}/#/${path}`)
    await page.getByRole('heading', { level: 1 }).waitFor()
  }
  const picture = (name: string): Promise<unknown> =>
    page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
  const button = (name: string) => page.getByRole('button', { name, exact: true })

  it('writes what the model writes, and shows each token', async () => {
    await open('write?model="tiny"&temperature=0&maxTokens=20&prompt="The little dog"')
    await button('Write').click()
    await page.getByText('ended by').waitFor()
    const model = Model.open(bundledModel('tiny')!, engine)
    const [own] = await complete(model, ['The little dog'], { temperature: 0, maxTokens: 20 })
    const shown = await page.getByRole('group', { name: 'text' }).locator('button').allTextContents()
    expect(shown.slice(-own!.tokens.length).join('')).toBe(own!.text)
    // The last one is chosen by keys, and tells how likely it was and what else there was.
    await page.getByRole('group', { name: 'text' }).locator('button').nth(6).click()
    await page.keyboard.press('ArrowRight')
    const card = page.locator('.card[aria-live]')
    expect(await card.textContent()).toMatch(/%, entropy [\d.]+ nats/)
    expect(await card.locator('tr').count()).toBe(8)
    await picture('write')
    await button('Copy as command').click()
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(
      "glossa generate -m tiny -p 'The little dog' -n 20 --temp 0 --top-p 1 --seed 1",
    )
    await button('Copy link').click()
    expect(await page.evaluate('navigator.clipboard.readText()')).toMatch(
      /#\/write\?prompt=%22The\+little\+dog%22.*temperature=0/,
    )
  })

  it('stops where it is told to, and says what is wrong', async () => {
    await open('write?model="tiny"&maxTokens=400')
    await button('Write').click()
    await page.getByText(/tokens\/s/).waitFor()
    await button('Stop').click()
    await page.getByRole('button', { name: 'Stop', disabled: true }).waitFor()
    await open('write?model="tiny"&with="no-such-method"')
    await button('Write').click()
    expect(await page.getByRole('alert').textContent()).toMatch(/no method 'no-such-method'/)
  })

  it('looks: lens, attention, activations, patching', async () => {
    await open('look?model="default"&text="Once upon a time there was a"')
    await page.getByRole('region', { name: 'lens' }).waitFor()
    const region = page.getByRole('region', { name: 'lens' })
    const layers = JSON.parse(readFileSync(join(bundledModel('default')!, 'config.json'), 'utf8'))
      .num_hidden_layers as number
    expect(await region.locator('tbody tr').count()).toBe(layers + 1)
    await region.locator('td button').first().click()
    expect(await page.locator('.card[aria-live] tr').count()).toBe(5)
    await picture('look-lens')
    for (const view of ['attention', 'activations', 'patch']) {
      await page.getByLabel('View').selectOption(view)
      await page
        .getByRole('region', {
          name: view === 'attention' ? 'attention pattern' : view === 'patch' ? 'patching' : view,
        })
        .waitFor()
      await picture(`look-${view}`)
    }
    // The last block's activation of the clean text at the last token is all that its answer comes from.
    await page
      .getByRole('region', { name: 'patching' })
      .locator('tbody tr')
      .first()
      .locator('td button')
      .last()
      .click()
    await page.getByText(/^layer \d+, at/).waitFor()
    const shown = await page.locator('.card[aria-live] table').allTextContents()
    expect(shown.length).toBe(3)
    expect(shown[2]!.replace('patched', '')).toBe(shown[0]!.replace('clean', ''))
    expect(shown[1]!.replace('corrupt', '')).not.toBe(shown[0]!.replace('clean', ''))
    await picture('look-patched')
    await page.getByLabel('Wrong answer').fill(' hippopotamus')
    await button('Look').click()
    expect(await page.getByRole('alert').textContent()).toMatch(/tokens/)
  })

  it.skipIf(!existsSync(saes))('finds features, and turns one while text streams', async () => {
    await open('features?model="default"')
    await page.locator('.entry').first().waitFor()
    const all = await page.locator('.entry').count()
    await page.getByLabel('Words').fill('the')
    await button('Search').click()
    await page.waitForFunction(`document.querySelectorAll('.entry').length <= ${all}`)
    await page.locator('.entry').first().click()
    await page.getByText('What it makes likely, and unlikely').waitFor()
    await page.getByLabel(/^Strength/).fill('12')
    await page.locator('.written').waitFor()
    await page.waitForFunction(`(document.querySelector('.written')?.textContent.length ?? 0) > 60`)
    await button('Read').click()
    await page.getByRole('region', { name: 'active features' }).waitFor()
    await picture('features')
  })

  it('learns a steer, sweeps it and mixes it in', async () => {
    await open('steer?model="tiny"')
    await button('Learn').click()
    await page.getByText(/^learned: norms/).waitFor()
    await page.getByLabel('Strengths').fill('0, 2')
    await button('Sweep happy').click()
    await page.locator('tbody tr').nth(1).waitFor()
    const table = await page.getByRole('region', { name: 'sweep' }).textContent()
    expect(table).toMatch(/strength/)
    await page.getByLabel(/^happy:/).fill('2')
    await button('Write').click()
    await page.waitForFunction(`(document.querySelector('p.card')?.textContent.length ?? 0) > 40`)
    await picture('steer')
  })

  it('lists the methods with their results, and runs one beside the plain model', async () => {
    await open('methods?model="tiny"')
    await button('lm-steer').click()
    expect(await page.locator('.card').last().textContent()).toMatch(/Measured:/)
    await page.getByLabel('Search').fill('control')
    await button('control-vector').click()
    await page
      .getByLabel('Method and options')
      .fill(`control-vector:file=${join(folder, 'happy.gguf')},strength=2`)
    await button('Run both').click()
    await page.waitForFunction(`document.body.textContent.match(/tokens.s/g)?.length === 2`)
    await page.getByRole('button', { name: 'Run both', disabled: false }).waitFor()
    await picture('methods')
    // On the Write page every token tells what the method made of it.
    const spec = `control-vector:file=${join(folder, 'happy.gguf')},strength=2`
    await open(
      `write?model="tiny"&maxTokens=12&tint="methods"&with=${encodeURIComponent(JSON.stringify(spec))}`,
    )
    await button('Write').click()
    await page.getByText('ended by').waitFor()
    await page.getByRole('group', { name: 'text' }).locator('button').last().click()
    expect(await page.locator('.card[aria-live]').textContent()).toMatch(
      /control-vector\s+made it [\d.]+ times (likelier|rarer)/,
    )
    await picture('write-methods')
  })

  it('trains, stops, and goes on', async () => {
    await open('train?model="tiny"&steps=300&batch=2&length=32')
    await button('Start').click()
    await page.getByText(/step \d+ of 300/).waitFor()
    await button('Stop').click()
    await page.getByText('its state is saved').waitFor()
    await button('Go on').waitFor()
    await button('Go on').click()
    await page.getByText(/^done|^steps|^end|: .*runs\/mine/).waitFor({ timeout: 90_000 })
    expect(await page.locator('figure polyline').count()).toBeGreaterThan(0)
    await picture('train')
    expect(readdirSync(join(folder, 'runs', 'mine'))).toContain('best')
  })

  it('compares models', async () => {
    await open('compare?maxTokens=20&stacks="tiny\\ndefault"')
    await button('Compare').click()
    await page.getByRole('button', { name: 'Compare', disabled: false }).waitFor()
    expect(await page.locator('.texts .card').count()).toBe(6)
    expect(await page.getByRole('region', { name: 'summary' }).locator('td.number').count()).toBe(6)
    await picture('compare')
  })

  it('fits a telephone, in the dark, and goes by keys', async () => {
    await page.setViewportSize({ width: 360, height: 740 })
    await page.emulateMedia({ colorScheme: 'dark' })
    for (const name of ['write', 'look', 'features', 'steer', 'methods', 'train', 'compare']) {
      await open(name)
      await page.waitForTimeout(300)
      const wide = await page.evaluate<number>('document.documentElement.scrollWidth')
      expect([name, wide]).toEqual([name, 360])
      await picture(`narrow-${name}`)
    }
    await page.keyboard.press('Alt+2')
    await page.getByRole('heading', { name: 'Look' }).waitFor()
    await page.setViewportSize({ width: 1200, height: 850 })
  })

  it('has enough contrast, light and dark', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      for (const name of ['write', 'look', 'features', 'steer', 'methods', 'train', 'compare']) {
        await open(name)
        const low = await page.evaluate<string[]>(contrast)
        expect([colorScheme, name, low]).toEqual([colorScheme, name, []])
      }
    }
  })

  it('answers pages of this machine alone', async () => {
    const ask = (headers: Record<string, string>) =>
      fetch(`${studio.url}/studio/api/about`, { method: 'POST', body: '{}', headers })
    expect((await ask({})).status).toBe(200)
    expect((await ask({ Origin: 'https://example.com' })).status).toBe(403)
    const wrong = await fetch(`${studio.url}/studio/api/write`, { method: 'POST', body: '{"model":"tiny"}' })
    expect([wrong.status, await wrong.json()]).toEqual([
      400,
      { error: expect.objectContaining({ message: expect.stringMatching(/^prompt:/) }) },
    ])
  })
})
