/** What is committed in results/ is what the experiments would say of it. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { experiments } from '../../src/experiments/catalogue.ts'
import { Rows, summary } from '../../src/experiments/experiment.ts'
import { readResults } from '../../src/experiments/result.ts'

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const results = readResults(path('results'))
const all = await experiments()

test('every result is that of an experiment', () => {
  expect(results.size).toBeGreaterThan(0)
  for (const id of results.keys()) expect(all.map((one) => one.id)).toContain(id)
})

describe.each([...results.values()])('$id', (result) => {
  const experiment = all.find(({ id }) => id === result.id)!

  test('says what the experiment says now', () => {
    expect(result.version).toBe(experiment.version)
    expect(result.paper).toBe(experiment.paper)
    expect(result.claim).toBe(experiment.claim)
    expect(result.setting).toBe(experiment.setting)
    expect(existsSync(path(`results/${result.id}.svg`))).toBe(true)
  })

  test('its verdict is that of its rows', () => {
    const { verdict, reason } = experiment.judge(new Rows(result.rows))
    expect(result.verdict).toBe(verdict)
    expect(result.reason).toBe(reason)
  })

  test('its rows add up: a value for each seed, their mean and spread, a baseline among them', () => {
    for (const { name, values, n, mean, spread } of result.rows) {
      expect(values).toHaveLength(n)
      // Looking for a penalty is done with a seed of its own.
      expect(n).toBe(name.startsWith('looking: ') ? 1 : result.seeds.length)
      expect(summary(values)).toEqual({ mean, spread })
    }
    expect(result.rows.map(({ name }) => name)).toContain(result.baseline)
    const [metric] = Object.keys(experiment.metrics)
    expect(result.rows.map((row) => row.metric)).toContain(metric)
  })
})

test("every experiment's judge has a test", () => {
  const texts = ['src/experiments', 'test/experiments'].flatMap((folder) =>
    readdirSync(path(folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => readFileSync(join(path(folder), name), 'utf8')),
  )
  for (const { id } of all) {
    const file = `/${id.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())}.ts'`
    const found = texts.some((text) => text.includes(file) && /\bjudge\b/.test(text))
    expect(found, `a test that imports papers${file}`).toBe(true)
  }
})

test('the table of docs/experiments.md is fresh', () => {
  execFileSync(process.execPath, [path('scripts/experiments-table.mjs'), '--check'], { stdio: 'pipe' })
})
