/** `glossa adapt`: adapters from rows, through the command line and back into generation. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, describe, expect, it } from 'vitest'
import { finish, glossa, json, start } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-adapt-'))
afterAll(() => rmSync(folder, { recursive: true }))

const names = ['Tom', 'Sam', 'Ben', 'Tim', 'Max', 'Lily', 'Anna', 'Mia', 'Sue', 'Jack']
const things = ['ball', 'dog', 'cake', 'car', 'tree', 'book']
const write = (name: string, rows: readonly object[]): string => {
  const path = join(folder, name)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return path
}
const cases = names.flatMap((name) => things.map((thing) => ({ name, thing })))
const completions = write(
  'rows.jsonl',
  cases.map(({ name, thing }) => ({
    prompt: `${name} saw a ${thing}.`,
    completion: ` "The moon is green," said ${name}.`,
  })),
)
const pairs = write(
  'pairs.jsonl',
  cases.map(({ name, thing }) => ({
    prompt: `${name} saw a ${thing}.`,
    chosen: ` ${name} was very happy.`,
    rejected: ` ${name} was very sad.`,
  })),
)
const adapt = (...args: string[]): string[] => ['adapt', '-m', 'models/starter', ...args, '--threads', '1']
const quick = ['--batch', '8', '--length', '48']
interface Adapted {
  readonly end: string
  readonly adapter: string
  readonly step: number
  readonly best: { readonly step: number; readonly loss: number }
}
const rowsOf = (run: string): Record<string, number>[] =>
  readFileSync(join(folder, run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

describe('glossa adapt', () => {
  it('LoRA says what the rows say, and is read by --lora', async () => {
    const out = join(folder, 'lora')
    const result = await json<Adapted>(
      ...adapt(
        '--data',
        completions,
        ...quick,
        '--steps',
        '40',
        '--rate',
        '0.01',
        '--target',
        'all-linear',
        '-o',
        out,
      ),
    )
    expect(result).toMatchObject({ end: 'done', step: 40 })
    const measured = rowsOf('lora').flatMap((row) => row['validation/loss'] ?? [])
    expect(measured.at(-1)!).toBeLessThan(measured[0]! / 4)
    expect(readdirSync(result.adapter).sort()).toEqual(
      expect.arrayContaining(['adapter_config.json', 'adapter_model.safetensors']),
    )
    expect(JSON.parse(readFileSync(join(result.adapter, 'adapter_config.json'), 'utf8'))).toMatchObject({
      peft_type: 'LORA',
      r: 8,
      task_type: 'CAUSAL_LM',
    })
    // A name and a thing that no row has together with these words.
    const say = ['generate', '-m', 'models/starter', '-p', 'Bob saw a frog.', '--temp', '0', '-n', '12']
    const [plain, adapted] = [await glossa(...say), await glossa(...say, '--lora', result.adapter)]
    expect(plain.stdout).not.toContain('The moon is green')
    expect(adapted.stdout).toContain('"The moon is green," said')
  })

  it.each([
    ['dora', ['--rate', '0.01']],
    ['ia3', ['--rate', '0.05']],
    ['prefix', ['--rate', '0.05', '--virtual-tokens', '4']],
    ['prompt', ['--rate', '0.05', '--virtual-tokens', '4']],
    ['full', ['--rate', '0.001']],
  ])('%s learns from the same rows', async (kind, options) => {
    const out = join(folder, kind)
    await json(
      ...adapt('--data', completions, ...quick, '--steps', '16', '--kind', kind, ...options, '-o', out),
    )
    const measured = rowsOf(kind).flatMap((row) => row['validation/loss'] ?? [])
    expect(measured.at(-1)!).toBeLessThan(0.8 * measured[0]!)
    expect(existsSync(join(out, 'best', kind === 'full' ? 'config.json' : 'adapter_config.json'))).toBe(true)
  })

  it.each(['dpo', 'orpo', 'simpo'])('%s comes to prefer the chosen answers', async (objective) => {
    const out = join(folder, objective)
    const more = ['--objective', objective, '--steps', '24', '--rate', '0.005', '--target', 'all-linear']
    await json(...adapt('--data', pairs, ...quick, ...more, '-o', out))
    const measured = rowsOf(objective).flatMap((row) => row['validation/rewardMargin'] ?? [])
    expect(measured.at(-1)!).toBeGreaterThan(measured[0]! + 0.1)
  })

  it('killed and resumed it writes the same adapter', async () => {
    const args = (run: string) =>
      adapt('--data', completions, ...quick, '--steps', '150', '-o', join(folder, run))
    await json(...args('whole'))
    const child = start([...args('killed'), '--resume'])
    const ended = finish(child)
    // Dies after the first saved state, before the end.
    while (!existsSync(join(folder, 'killed', 'state.safetensors'))) await setTimeout(20)
    child.kill('SIGKILL')
    expect((await ended).code).toBe('SIGKILL')
    await json(...args('killed'), '--resume')
    const bytes = (run: string) =>
      readFileSync(join(folder, run, 'last/adapter_model.safetensors')).toString('base64')
    expect(bytes('killed')).toBe(bytes('whole'))
  })

  it.each<[string, string[], RegExp]>([
    [
      'pairs for next-token',
      ['--data', pairs, '--objective', 'next-token'],
      /pairs of answers: --objective dpo/,
    ],
    ['texts for dpo', ['--data', completions, '--objective', 'dpo'], /a chosen and a rejected answer/],
    ['a module that is not there', ['--data', completions, '--target', 'nothing'], /nothing/],
    [
      'rows that are too long',
      ['--data', completions, '--length', '4'],
      /row \d+ has \d+ tokens, more than 4/,
    ],
    ['a missing file', ['--data', join(folder, 'no.jsonl')], /no\.jsonl/],
  ])('refuses %s', async (_, args, message) => {
    const { code, stderr } = await glossa(...adapt(...args, '-o', join(folder, 'bad')))
    expect(code).toBe(1)
    expect(stderr).toMatch(message)
  })
})
