import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { allClose, fixture, tolerance } from '../reference.ts'
import { glossa, json, llamaTiny } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-lens-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))
const starter = 'models/starter'
const golden = JSON.parse(readFileSync(fixture('interp.json'), 'utf8')) as {
  'llama-tiny': {
    tokens: number[][]
    logitLens: { first: number[][]; divergence: number[][]; rank: number[][] }
  }
}

interface Printed {
  kind: string
  tokens: { id: number; text: string | null }[]
  blocks: {
    blocks: number
    cells: {
      top: { id: number; text: string | null; probability: number }[]
      divergence: number
      crossEntropy: number | null
      rank: number | null
    }[]
  }[]
}

describe('glossa lens', () => {
  it('prints what the reference has', async () => {
    const { tokens, logitLens } = golden['llama-tiny']
    const [row] = tokens as [number[]]
    const read = await json<Printed>('lens', '-m', llamaTiny, '--tokens', row.join(), '--top', '2')
    expect(read.kind).toBe('logit')
    expect(read.tokens).toEqual(row.map((id) => ({ id, text: null })))
    for (const [blocks, { cells, ...about }] of read.blocks.entries()) {
      expect(about).toEqual({ blocks })
      expect(cells.map(({ top }) => top[0]!.id)).toEqual(logitLens.first[blocks]!.slice(0, row.length))
      allClose(
        cells.map(({ divergence }) => divergence),
        logitLens.divergence[blocks]!.slice(0, row.length),
        tolerance.f32,
      )
      expect(cells.at(-1)).toMatchObject({ rank: null, crossEntropy: null })
      expect(cells.slice(0, -1).map(({ rank }) => rank)).toEqual(
        logitLens.rank[blocks]!.slice(0, row.length - 1),
      )
    }
  })

  it('fits, saves, loads and draws', async () => {
    const corpus = join(folder, 'corpus.txt')
    writeFileSync(
      corpus,
      Array.from(
        { length: 300 },
        (_, i) => `Once upon a time there was a cat number ${i}. It was ${i % 7} big.`,
      ).join('\n<|endoftext|>\n'),
    )
    const [saved, picture] = [join(folder, 'lens'), join(folder, 'grid.svg')]
    const prompt = ['lens', '-m', starter, '-p', 'Once upon a time']
    const fit = [...prompt, '--kind', 'shortcut', '--fit', corpus, '--fit-tokens', '2000', '--save', saved]
    const fitted = await json<Printed>(...fit)
    expect(fitted.kind).toBe('shortcut')
    expect(await json<Printed>(...prompt, '--load', saved)).toEqual(fitted)
    const { stdout, code } = await glossa(...prompt, '--load', saved, '--plot', picture, '--color', 'entropy')
    expect(code).toBe(0)
    expect(stdout).toContain('·upon')
    expect(stdout).toContain('cross entropy')
    expect(stdout).not.toContain('\x1b')
    expect(readFileSync(picture, 'utf8')).toContain('entropy (nats)')
    const tuned = [...prompt, '--kind', 'tuned', '--fit', corpus, '--fit-tokens', '3000', '--steps', '2']
    expect((await json<Printed>(...tuned)).kind).toBe('tuned')
    const other = await glossa('lens', '-m', llamaTiny, '--tokens', '1,2', '--load', saved)
    expect(other.code).toBe(1)
    expect(other.stderr).toContain('is a lens for 5 layers of width 128')
  }, 400_000)

  it.each([
    [['--kind', 'tuned'], '--kind tuned needs a lens for this model: fit one with --fit CORPUS'],
    [['--fit', 'x.txt'], '--fit is for --kind tuned or --kind shortcut'],
    [['--kind', 'tuned', '--fit', 'x.txt', '--load', 'y'], 'exclude each other'],
    [['--save', 'x'], '--save goes with --fit CORPUS'],
    [['--kind', 'shortcut', '--fit', 'x.txt', '--steps', '3'], '--steps is for --kind tuned'],
    [['--plot', join(folder, 'grid.png')], 'has to end in .svg'],
  ])('%j is a mistake', async (flags, message) => {
    const { code, stderr } = await glossa('lens', '-m', starter, '-p', 'A', ...flags)
    expect(stderr).toContain(message)
    expect(code).toBe(2)
    expect(existsSync(join(folder, 'grid.png'))).toBe(false)
  })
})

interface PrintedGrid {
  site: string
  by: string
  clean: { difference: number }
  cells: { layer: number; position?: number; head?: number; restored: number }[]
}

describe('glossa patch', () => {
  const prompts = [
    ...['--clean', 'Lily had a cat. Lily loved her', '--corrupt', 'Lily had a dog. Lily loved her'],
    ...['--answer', ' cat', '--wrong', ' dog'],
  ]
  const patch = ['patch', '-m', starter, ...prompts]

  it('finds the word that differs, and where it is needed', async () => {
    const { cells, by } = await json<PrintedGrid>(...patch)
    expect(by).toBe('position')
    const [cat, last] = [4, Math.max(...cells.map(({ position }) => position!))]
    for (const { layer, position, restored } of cells) {
      // What comes before is the same in both.
      if (position! < cat) expect(Math.abs(restored)).toBeLessThan(1e-4)
      // At layer 0 nothing has moved yet.
      if (layer === 0 && position === cat) expect(restored).toBeCloseTo(1, 4)
      if (layer === 0 && position !== cat) expect(Math.abs(restored)).toBeLessThan(1e-4)
      if (layer === 4 && position === last) expect(restored).toBeGreaterThan(0.5)
    }
  })

  it('shows and draws heads', async () => {
    const picture = join(folder, 'heads.svg')
    const { stdout, code } = await glossa(...patch, '--site', 'attn.hook_z', '--plot', picture)
    expect(code).toBe(0)
    expect(stdout).toContain('attn.hook_z, denoising')
    expect(readFileSync(picture, 'utf8')).toContain('logit difference restored')
  })

  it.each([
    [
      ['--corrupt', 'Lily had a very big dog. Lily loved her'],
      '--clean has 9, <|endoftext|>|Lily|·had|·a|·cat|',
    ],
    [['--answer', ' catapult'], "--answer ' catapult' is 5 tokens, ·cat|ap|u|l|t: give one"],
    [['--answer', '#5000'], 'the vocabulary has 1024 tokens'],
    [['--wrong', ' cat'], 'are the same token'],
    [['--plot', 'x.png'], 'has to end in .svg'],
  ])('%j is a mistake', async (flags, message) => {
    // The last one given counts.
    const { code, stderr } = await glossa(...patch, ...flags)
    expect(stderr).toContain(message)
    expect(code).toBe(2)
  })

  it('an unknown site is an error that names those that there are', async () => {
    const { code, stderr } = await glossa(...patch, '--site', 'mlp_out')
    expect(stderr).toContain("no site 'mlp_out' in its blocks; there are: hook_resid_pre")
    expect(code).toBe(1)
  })
})
