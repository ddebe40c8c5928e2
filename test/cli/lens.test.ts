import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Resvg } from '@resvg/resvg-js'
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
    [['--plot', join(folder, 'grid.pdf')], 'pictures are .svg or .png'],
  ])('%j is a mistake', async (flags, message) => {
    const { code, stderr } = await glossa('lens', '-m', starter, '-p', 'A', ...flags)
    expect(stderr).toContain(message)
    expect(code).toBe(2)
    expect(existsSync(join(folder, 'grid.pdf'))).toBe(false)
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
    [['--plot', 'x.jpeg'], 'pictures are .svg or .png'],
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

/** A machine without fonts can draw no PNG. */
const hasFonts =
  new Resvg(
    '<svg xmlns="http://www.w3.org/2000/svg"><text font-family="sans-serif">A</text></svg>',
  ).getBBox() !== undefined

/** Width and height of a PNG. */
function sizeOf(path: string): number[] {
  const data = readFileSync(path)
  expect(data.subarray(1, 4).toString()).toBe('PNG')
  return [data.readUInt32BE(16), data.readUInt32BE(20)]
}

interface Parts {
  targets: number[]
  parts: { part: string; layer?: number; head?: number; values: number[] }[]
  bias: number[]
  logits: number[]
}

describe('glossa attribute', () => {
  const prompt = ['attribute', '-m', starter, '-p', 'Lily had a cat. Lily loved her']

  it('has parts that add up to the logit that the model has', async () => {
    const { parts, bias, logits, targets } = await json<Parts>(...prompt)
    const heads = parts.filter(({ part }) => part === 'head')
    expect(heads.map(({ layer, head }) => `${layer}.${head}`)).toEqual(
      Array.from({ length: heads.length }, (_, i) => `${Math.floor(i / 4)}.${i % 4}`),
    )
    for (const [at, logit] of logits.entries())
      expect(parts.reduce((sum, { values }) => sum + values[at]!, bias[at]!)).toBeCloseTo(logit, 3)
    const { data, shape } = await json<{ data: number[]; shape: number[] }>(
      ...['inspect', '-m', starter, '-p', 'Lily had a cat. Lily loved her', '--tap', 'logits'],
    )
    const last = data.slice(-shape.at(-1)!)
    expect(logits.at(-1)).toBeCloseTo(Math.max(...last), 3)
    expect(targets.at(-1)).toBe(last.indexOf(Math.max(...last)))
  })

  it('compares two tokens', async () => {
    const { logits } = await json<Parts>(...prompt, '--answer', ' cat', '--wrong', ' dog')
    const [cat, dog] = await Promise.all(
      [' cat', ' dog'].map(async (token) => (await json<Parts>(...prompt, '--answer', token)).logits.at(-1)!),
    )
    expect(logits.at(-1)).toBeCloseTo(cat! - dog!, 3)
  })

  it('shows and draws parts by position', async () => {
    const picture = join(folder, 'parts.svg')
    const { stdout, code } = await glossa(...prompt, '--by', 'position', '--plot', picture)
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ *4 attention /m)
    expect(stdout).toMatch(/^ *embedding /m)
    expect(readFileSync(picture, 'utf8')).toContain('4 attention, ·loved: ')
  })
})

describe('glossa attention', () => {
  const prompt = ['-p', 'Lily had a cat. Lily loved her']

  it('has patterns whose rows are shares of what came before', async () => {
    const { pattern, tokens } = await json<{ pattern: number[][]; tokens: number[] }>(
      ...['attention', '-m', starter, ...prompt, '--head', '2.1'],
    )
    expect(pattern).toHaveLength(tokens.length)
    for (const [t, row] of pattern.entries()) {
      expect(row.reduce((a, b) => a + b)).toBeCloseTo(1, 4)
      expect(row.slice(t + 1).every((share) => share === 0)).toBe(true)
    }
  })

  it.skipIf(!hasFonts)('draws a PNG, twice as large as the SVG', async () => {
    const [png, svg] = ['head.png', 'head.svg'].map((name) => join(folder, name)) as [string, string]
    const head = ['attention', '-m', starter, ...prompt, '--head', '2.1']
    const [{ stdout, code }] = await Promise.all([
      glossa(...head, '--plot', png),
      glossa(...head, '--plot', svg),
    ])
    expect(code).toBe(0)
    expect(stdout).toContain('Attention of head 2.1')
    const size = /width="(\d+)" height="(\d+)"/.exec(readFileSync(svg, 'utf8'))!.slice(1)
    expect(sizeOf(png)).toEqual(size.map((pixels) => 2 * Number(pixels)))
  })

  it('scores all heads, on a text and on what repeats', async () => {
    type Heads = { heads: Record<string, number>[] }
    const [own, repeated] = await Promise.all([
      json<Heads>('attention', '-m', starter, ...prompt),
      json<Heads>('attention', '-m', starter, '--score', 'induction'),
    ])
    expect(own.heads).toHaveLength(20)
    expect(Object.keys(own.heads[0]!)).toEqual(['layer', 'head', 'entropy', 'current', 'previous', 'first'])
    expect(repeated.heads.every(({ induction }) => induction! >= 0 && induction! <= 1)).toBe(true)
  })

  it.each([
    [[...prompt, '--head', '7'], 'a head is LAYER.HEAD'],
    [[...prompt, '--head', '7.1'], 'layers are 0 to 4, heads 0 to 3'],
    [[...prompt, '--score', 'induction'], 'leave the prompt out'],
    [[], 'give -p or --tokens'],
  ])('%j is a mistake', async (flags, message) => {
    const { code, stderr } = await glossa('attention', '-m', starter, ...flags)
    expect(stderr).toContain(message)
    expect(code).toBe(2)
  })
})

describe('glossa layers', () => {
  const layers = (view: string, ...flags: string[]): string[] => ['layers', view, '-m', starter, ...flags]
  const prompt = ['-p', 'The little dog ran to the']

  it('gradient: the last position is shifted to the answer', async () => {
    interface Shifts {
      tokens: number[]
      target: number
      places: { side: string; position: number; tokens: { token: number }[] }[]
    }
    const { tokens, target, places } = await json<Shifts>(
      ...layers('gradient', ...prompt, '--answer', ' cake'),
    )
    const shifts = places.filter(({ side, position }) => side === 'shift' && position === tokens.length - 1)
    expect(shifts.map(({ tokens }) => tokens[0]!.token)).toEqual(new Array(5).fill(target))
    const picture = join(folder, 'gradient.svg')
    const { stdout } = await glossa(...layers('gradient', ...prompt, '--answer', ' cake', '--plot', picture))
    expect(stdout).toMatch(/^0 .*·cake$/m)
    expect(readFileSync(picture, 'utf8')).toContain('share of the longest')
  })

  it('values: the dominant sub-update is the largest of its layer', async () => {
    interface Places {
      tokens: number[]
      places: { layer: number; position: number; index: number; coefficient: number; sign: number }[]
    }
    const { tokens, places } = await json<Places>(...layers('values', ...prompt))
    expect(places).toHaveLength(5 * tokens.length)
    const post = await json<{ data: number[]; shape: number[] }>(
      ...['inspect', '-m', starter, ...prompt, '--tap', 'blocks.3.mlp.hook_post'],
    )
    const hidden = post.shape.at(-1)!
    for (const { layer, position, index, coefficient, sign } of places) {
      expect(sign).toBe(coefficient < 0 ? -1 : 1)
      if (layer === 3) expect(coefficient).toBeCloseTo(post.data[position * hidden + index]!, 4)
    }
    const { stdout } = await glossa(...layers('values', ...prompt))
    expect(stdout).toContain('at the last token')
  })

  it('values: which promote words', async () => {
    const { vectors } = await json<{ vectors: { score: number; tokens: unknown[] }[] }>(
      ...layers('values', '--words', 'happy', '--words', 'friends', '--top', '3'),
    )
    expect(vectors.map(({ score }) => score)).toEqual(
      vectors.map(({ score }) => score).toSorted((a, b) => b - a),
    )
    expect(vectors.every(({ tokens }) => tokens.length === 3)).toBe(true)
  })

  it('law: a line through what the layers leave, on a text and on another', async () => {
    const corpus = join(folder, 'law.txt')
    writeFileSync(
      corpus,
      Array.from(
        { length: 300 },
        (_, i) => `Once there was a ${['cat', 'dog', 'bird'][i % 3]} with ${i} toys. It ran ${i % 7} times.`,
      ).join('\n<|endoftext|>\n'),
    )
    interface Law {
      residuals: number[]
      correlation: number
      tokens: number
      heldOut: { residuals: number[] }
    }
    const law = layers('law', '--fit', corpus, '--fit-tokens', '2000')
    const { residuals, correlation, tokens, heldOut } = await json<Law>(...law)
    expect(tokens).toBe(15 * 127)
    expect(residuals).toHaveLength(5)
    // A fit does better where it was made.
    for (const [i, value] of residuals.entries()) expect(value).toBeLessThan(heldOut.residuals[i]!)
    expect(Math.abs(correlation)).toBeLessThanOrEqual(1)
    const picture = join(folder, 'law.svg')
    const { stdout } = await glossa(...law, '--plot', picture)
    expect(stdout).toContain(correlation.toFixed(3))
    expect(readFileSync(picture, 'utf8')).toContain('held out')
  })

  it.each([
    [layers('gradient', ...prompt), '--answer is missing: layers gradient needs it'],
    [layers('values', ...prompt, '--answer', ' cake'), '--answer is not for layers values'],
    [layers('values', ...prompt, '--words', 'happy'), '-p and --words exclude each other'],
    [layers('law'), '--fit is missing: layers law needs it'],
  ])('%j is a mistake', async (line, message) => {
    const { code, stderr } = await glossa(...line)
    expect(stderr).toContain(message)
    expect(code).toBe(2)
  })
})
