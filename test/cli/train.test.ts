/** `glossa train`: runs that are killed and resumed end with the same bits; recipes that cannot be meant are refused. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { random } from '../../src/array/index.ts'
import { finish, glossa, json, start } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-train-'))
afterAll(() => rmSync(folder, { recursive: true }))

const recipe = {
  name: 'tiny',
  model: {
    config: {
      model_type: 'llama',
      vocab_size: 1024,
      hidden_size: 32,
      intermediate_size: 64,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-5,
      hidden_act: 'silu',
      tie_word_embeddings: true,
    },
  },
  tokenizer: resolve('models/starter'),
  data: { sources: [{ name: 'counting', files: [{ file: 'text.txt' }], heldOut: 0.1 }] },
  length: 16,
  batch: 4,
  accumulate: 2,
  steps: 120,
  optimizer: { kind: 'muon', rate: 0.01, weightDecay: 0.1 },
  schedule: { kind: 'cosine', warmup: 5 },
  clip: 1,
  measure: { every: 25, windows: 8 },
  saveEvery: 7,
  keep: [0, 50],
  dtype: 'f32',
}
const write = (name: string, changes: object = {}): string => {
  const path = join(folder, name)
  writeFileSync(path, JSON.stringify({ ...recipe, ...changes }))
  return path
}

let path: string
beforeAll(() => {
  const words = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
  const uniform = random.generator(1)
  const line = (): string => {
    const from = Math.floor(uniform() * 10)
    return Array.from({ length: 24 }, (_, i) => words[(from + i) % 10]).join(' ')
  }
  writeFileSync(join(folder, 'text.txt'), Array.from({ length: 60 }, line).join('\n<|endoftext|>\n'))
  path = write('tiny.json')
})

/** Everything that the run's model and state hold. */
const bytesOf = (run: string): string[] =>
  ['last/model.safetensors', 'best/model.safetensors', 'kept/step-0000050/model.safetensors'].map((name) =>
    readFileSync(join(folder, run, name)).toString('base64'),
  )
const train = (...args: string[]): string[] => ['train', ...args, '--threads', '1']
const metrics = (run: string): Record<string, unknown>[] =>
  readFileSync(join(folder, run, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { perSecond: _, ...row } = JSON.parse(line) as Record<string, unknown>
      return row
    })

describe('glossa train', () => {
  it('ends where nothing gets better, with the best weights', async () => {
    const changes = {
      measure: { every: 5, windows: 8, patience: 2 },
      optimizer: { kind: 'sgd', rate: 1e-9 },
      clip: 1e-6,
    }
    const result = await json<{ end: string; step: number; best: { step: number }; model: string }>(
      ...train(write('still.json', { ...changes, steps: 400 }), '-o', join(folder, 'still')),
    )
    // Rounding moves the loss a little, so that it is not the first measurement that has to be the best.
    expect(result.end).toBe('no longer better')
    expect(result.step).toBe(result.best.step + 15)
    expect(result.model).toMatch(/best$/)
  })

  it('learns, keeps what the recipe names, and says so', async () => {
    const result = await json<{ end: string; step: number; best: { loss: number } }>(
      ...train(path, '-o', join(folder, 'whole')),
    )
    expect(result).toMatchObject({ end: 'done', step: 120 })
    expect(result.best.loss).toBeLessThan(2)
    expect(readdirSync(join(folder, 'whole', 'kept'))).toEqual(['step-0000000', 'step-0000050'])
    const steps = metrics('whole').filter((row) => row.loss !== undefined)
    expect(steps.map((row) => row.step)).toEqual(Array.from({ length: 120 }, (_, i) => i + 1))
    const { stdout, code } = await glossa(
      'generate',
      '-m',
      join(folder, 'whole/best'),
      '-p',
      'one two three',
      '--temp',
      '0',
      '-n',
      '6',
    )
    expect(code).toBe(0)
    expect(stdout).toMatch(/^one two three four/)
  })

  it('killed at random moments and resumed, it ends with the same bits', async () => {
    const uniform = random.generator(7)
    let kills = 0
    for (let tries = 0; tries < 30; tries++) {
      const child = start(train(path, '-o', join(folder, 'killed'), '--resume'))
      const ended = finish(child)
      // Some die before the first state is saved, some amid a file, most between.
      const kill = setTimeout(600 + 1400 * uniform()).then(() => child.kill('SIGKILL'))
      const { code, stderr } = await ended
      await kill
      if (code === 0) break
      expect(code, stderr).toBe('SIGKILL')
      kills++
    }
    expect(kills).toBeGreaterThan(1)
    await json(...train(path, '-o', join(folder, 'killed'), '--resume'))
    expect(bytesOf('killed')).toEqual(bytesOf('whole'))
    expect(metrics('killed')).toEqual(metrics('whole'))
  })

  it('Ctrl-C saves the state and says how to go on', async () => {
    const child = start(train(path, '-o', join(folder, 'stopped')))
    const ended = finish(child)
    let seen = ''
    child.stderr!.on('data', (data: Buffer) => {
      seen += data
      if (seen.includes('step 25:')) child.kill('SIGINT')
    })
    const { code, stdout } = await ended
    expect(code).toBe(130)
    expect(stdout).toMatch(/stopped after step \d+; go on with: glossa train/)
    await json(...train(path, '-o', join(folder, 'stopped'), '--resume'))
    expect(bytesOf('stopped')).toEqual(bytesOf('whole'))
  })

  it.each<[string, object, RegExp]>([
    ['an unknown key', { stepz: 3 }, /unknown keys 'stepz'/],
    ['an unknown optimizer', { optimizer: { kind: 'adam', rate: 1 } }, /'adam'.*adamw/],
    [
      'a missing file',
      { data: { sources: [{ name: 'x', files: [{ file: 'no.txt' }], heldOut: 0.1 }] } },
      /no\.txt/,
    ],
    ['rows beyond the context', { length: 100 }, /rows of 100 tokens.*64 positions/],
    ['nothing held out', { data: { sources: [{ name: 'x', files: [{ file: 'text.txt' }] }] } }, /held out/],
  ])('refuses %s', async (_, changes, message) => {
    const { code, stderr } = await glossa(...train(write('bad.json', changes), '-o', join(folder, 'bad')))
    expect(code).toBe(1)
    expect(stderr).toMatch(message)
    rmSync(join(folder, 'bad'), { recursive: true, force: true })
  })

  it('refuses to write over a run, and to resume another one', async () => {
    const again = await glossa(...train(path, '-o', join(folder, 'whole')))
    expect(again.stderr).toMatch(/there is a run already; resume it/)
    // How far it goes may change.
    const further = await json<{ step: number }>(
      ...train(path, '-o', join(folder, 'whole'), '--resume', '--steps', '125'),
    )
    expect(further.step).toBe(125)
    const other = await glossa(
      ...train(write('other.json', { batch: 8 }), '-o', join(folder, 'whole'), '--resume'),
    )
    expect(other.stderr).toMatch(/is of another recipe: 'batch' was 4, and is 8 now/)
  })
})
