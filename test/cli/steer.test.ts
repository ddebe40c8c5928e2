/** `glossa steer`, and `--with` where tokens are drawn and where they are scored. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { glossa, json } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-cli-steer-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)
const starter = ['-m', 'models/starter', '--threads', '1']
const happy = ['Tom was happy and he smiled.', 'Lily loved the fun day.', 'They were glad and they laughed.']
const sad = ['Tom was sad and he cried.', 'Lily hated the bad day.', 'They were scared and they ran.']

beforeAll(() => {
  writeFileSync(at('happy.txt'), `${happy.join('\n')}\n\n`)
  writeFileSync(at('sad.txt'), sad.join('\n'))
})
const kinds = ['--positive', at('happy.txt'), '--negative', at('sad.txt')]

describe('glossa steer', () => {
  it('learns a vector, applies it, and measures it', async () => {
    const vector = at('happy.gguf')
    expect(await json('steer', 'fit', ...starter, ...kinds, '-o', vector)).toMatchObject({
      ...{ output: vector, kind: 'mean', positive: 3, negative: 3 },
    })
    const draw = ['-p', 'One day', '-n', '8', '--temp', '0', '--seed', '1']
    const applied = await json('steer', 'apply', ...starter, '-f', vector, '--strength', '3', ...draw)
    const spec = ['--with', `control-vector:file=${vector},strength=3`]
    const generated = await json('generate', ...starter, ...spec, ...draw)
    expect(applied.tokens).toEqual(generated.tokens)
    const plain = await json('generate', ...starter, ...draw)
    expect(generated.tokens).not.toEqual(plain.tokens)
    const none = await json(
      'generate',
      ...starter,
      '--with',
      `control-vector:file=${vector},strength=0`,
      ...draw,
    )
    expect(none.tokens).toEqual(plain.tokens)

    const plot = at('plot.svg')
    const swept = await json(
      ...['steer', 'sweep', ...starter, '-f', vector, ...kinds, '-p', 'One day Tom', '-o', plot],
      ...['--strengths', '-2,0,2', '--samples', '2', '-n', '10', '--weights', 'int4'],
    )
    const rows = swept.rows as Record<string, number>[]
    expect(rows.map(({ strength }) => strength)).toEqual([-2, 0, 2])
    for (const { target, perplexity, distinct2, repetition4 } of rows) {
      for (const share of [target!, distinct2!, repetition4!]) expect(share >= 0 && share <= 1).toBe(true)
      expect(perplexity).toBeGreaterThan(1)
    }
    expect(readFileSync(plot, 'utf8')).toContain('<svg')
  }, 120_000)

  it('learns an LM-Steer, which scores follow', async () => {
    const file = at('happy.safetensors')
    const training = ['--kind', 'lm-steer', '--steps', '30', '--batch', '4', '--rate', '0.1', '--rank', '8']
    await json('steer', 'fit', ...starter, ...kinds, ...training, '-o', file)
    const score = async (text: string, strength: number): Promise<number> => {
      const spec = ['--with', `lm-steer:file=${file},strength=${strength}`]
      return (await json('score', ...starter, ...spec, '-p', text)).loglikelihood as number
    }
    const lean = async (strength: number) =>
      (await score(happy[0]!, strength)) - (await score(sad[0]!, strength))
    expect(await lean(1)).toBeGreaterThan((await lean(-1)) + 0.5)
  }, 120_000)

  it.each([
    [['steer', 'fit', ...starter], /--positive is missing: steer fit needs it/],
    [['steer', 'fit', ...starter, ...kinds, '-o', 'x.safetensors'], /must end in \.gguf for --kind mean/],
    [
      ['steer', 'fit', ...starter, ...kinds, '-o', 'x.gguf', '--strength', '2'],
      /--strength is not for steer fit/,
    ],
    [
      ['steer', 'fit', ...starter, ...kinds, '-o', 'x.gguf', '--steps', '3'],
      /--steps is not for --kind mean/,
    ],
    [['steer', 'apply', ...starter, '-f', 'x.bin', '-p', 'a'], /a steer is a \.gguf .* or a \.safetensors/],
    [['steer', 'sweep', ...starter, '-f', 'x.gguf', '-p', 'a'], /give --words, or --positive and --negative/],
    [['steer', 'swep', ...starter], /must be fit, apply or sweep/],
    [
      ['generate', ...starter, '-p', 'a', '--with', 'lm-stear:file=x'],
      /there is no method 'lm-stear'; did you mean lm-steer\?/,
    ],
    [['generate', ...starter, '-p', 'a', '--with', 'lm-steer'], /lm-steer: the option 'file' is missing/],
    [
      ['generate', ...starter, '-p', 'a', '--with', 'neft'],
      /neft is a method of the socket 'adapter': .*--lora/,
    ],
    [
      ['score', ...starter, '-p', 'a', '--with', 'control-vector:file=nowhere.gguf'],
      /control-vector: nowhere\.gguf: /,
    ],
    [
      ['generate', '-m', 'test/fixtures/families/t5', '--tokens', '3,4', '--with', 'lm-steer:file=x'],
      /--with is for decoders/,
    ],
  ])(
    '%s',
    async (args, message) => {
      const { stdout, stderr, code } = await glossa(...(args as string[]))
      expect(stdout).toBe('')
      expect(stderr).toMatch(message)
      expect(code).toBeGreaterThan(0)
      expect(existsSync('x.gguf')).toBe(false)
    },
    60_000,
  )
})
