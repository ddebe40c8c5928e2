/** Training from a recipe: several SAEs from one stream, stopped and resumed with the same bits. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { readSae } from '../../src/interp/sae/files/index.ts'
import { parseSaeRecipe } from '../../src/interp/sae/recipe.ts'
import { trainSaes } from '../../src/interp/sae/train.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const base = mkdtempSync(join(tmpdir(), 'glossa-sae-train-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(base, { recursive: true })
})
const names = ['Lily', 'Tom', 'Anna', 'Ben', 'Sue', 'Max']
const things = ['a red ball', 'a big dog', 'the old tree', 'her blue hat', 'a small boat']
const stories = Array.from(
  { length: 240 },
  (_, i) =>
    `One day, ${names[i % 6]} saw ${things[i % 5]}. "Look, ${names[(i * 7 + 1) % 6]}!" ${names[i % 6]} said. They ` +
    `played with ${things[(i * 3 + 2) % 5]} all day, and then it was time to go home to ${names[(i * 5 + 2) % 6]}.\n` +
    '<|endoftext|>\n',
)
writeFileSync(join(base, 'stories.txt'), stories.join(''))

const recipe = (changes: object = {}) =>
  parseSaeRecipe(
    {
      name: 'several',
      model: fileURLToPath(new URL('../../models/starter', import.meta.url)),
      data: { files: [{ file: 'stories.txt' }], heldOut: 0.1 },
      saes: [
        {
          name: 'top',
          site: 'blocks.2.hook_resid_post',
          features: 256,
          architecture: { kind: 'topk', k: 16 },
        },
        { name: 'both', site: ['blocks.1.hook_resid_post', 'blocks.3.hook_resid_post'], features: 160 },
        {
          name: 'across',
          site: 'blocks.2.ln2.hook_normalized',
          siteOut: 'blocks.2.hook_mlp_out',
          features: 192,
          architecture: { kind: 'batchtopk', k: 12 },
          deadAfter: 512,
        },
      ],
      length: 32,
      windows: 8,
      batch: 128,
      buffer: 1024,
      tokens: 128 * 24,
      saveEvery: 5,
      evaluate: 512,
      ...changes,
    },
    'recipe',
  )

test('three SAEs, stopped twice, end as those of one run', { timeout: 240_000 }, async () => {
  const run = (folder: string, options: object = {}) =>
    trainSaes({ engine, recipe: recipe(), base, folder: join(base, folder), ...options })
  const whole = await run('whole')
  expect(whole.end).toBe('done')
  expect(whole.saes.map(({ name }) => name)).toEqual([
    'top',
    'both/blocks.1.hook_resid_post',
    'both/blocks.3.hook_resid_post',
    'across',
  ])
  for (const [at, resume] of [
    [3, false],
    [11, true],
  ] as const) {
    const stop = new AbortController()
    const onStep = ({ step }: { step: number }) => step === at && stop.abort()
    expect((await run('parts', { resume, signal: stop.signal, onStep })).end).toBe('interrupted')
  }
  const parts = await run('parts', { resume: true })
  expect(parts.saes.map(({ metrics }) => metrics)).toEqual(whole.saes.map(({ metrics }) => metrics))
  const files = readdirSync(join(base, 'whole', 'last'), { recursive: true, withFileTypes: true })
  const written = files.filter((entry) => entry.isFile())
  expect(written.length).toBe(12)
  for (const entry of written) {
    const path = join(entry.parentPath ?? entry.path, entry.name)
    const other = path.replace(`${base}/whole`, `${base}/parts`)
    expect(readFileSync(other).equals(readFileSync(path)), path).toBe(true)
  }
  const lines = readFileSync(join(base, 'parts', 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
  const rows = lines.map((line) => JSON.parse(line))
  expect(rows.length).toBe(24)
  expect(rows.at(-1)).toMatchObject({ step: 24 })
  expect(rows.at(-1)['top/explained_variance']).toBeGreaterThan(rows[0]['top/explained_variance'])
  // Both of a group have the same features: decoders differ by their scale alone.
  const [first, second] = ['1', '3'].map(
    (layer) => readSae(join(base, 'whole', 'last', 'both', `blocks.${layer}.hook_resid_post`)).sae,
  )
  const [a, b] = [first!, second!].map(({ params }) => params.W_dec.data as Float32Array)
  const factor = a![0]! / b![0]!
  expect(factor).not.toBeCloseTo(1, 2)
  for (let i = 0; i < 500; i++) expect(a![i]!).toBeCloseTo(b![i]! * factor, 5)
  expect(first!.config).toMatchObject({ site: 'blocks.1.hook_resid_post', architecture: 'topk' })
  const across = readSae(join(base, 'whole', 'last', 'across')).sae
  expect(across.config).toMatchObject({
    transcoder: true,
    architecture: 'jumprelu',
    siteOut: 'blocks.2.hook_mlp_out',
  })
})

test('what a recipe cannot mean is an error that names it', async () => {
  expect(() => recipe({ bach: 1 })).toThrow(/recipe: unknown keys 'bach'/)
  expect(() => recipe({ saes: [] })).toThrow(/'saes'/)
  const start = (saes: object[]) =>
    trainSaes({ engine, recipe: recipe({ saes }), base, folder: join(base, 'wrong') })
  const site = 'blocks.2.hook_resid_post'
  await expect(start([{ site: 'blocks.9.hook_resid_post' }])).rejects.toThrow(/layers 0 to 4/)
  await expect(start([{ site, architecture: { kind: 'top' } }])).rejects.toThrow(
    /there is no kind 'top'; there are: standard/,
  )
  await expect(start([{ site, architecture: { kind: 'topk', q: 1 } }])).rejects.toThrow(
    /there is no option 'q'/,
  )
  await expect(start([{ site: [site, 'blocks.2.mlp.hook_post'] }])).rejects.toThrow(/not of one width/)
  await expect(
    start([{ site, siteOut: 'blocks.2.hook_mlp_out', architecture: { kind: 'gated' } }]),
  ).rejects.toThrow(/no file format has gated transcoders/)
})
