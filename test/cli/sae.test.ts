/** `glossa sae`: trains, resumes, measures and shows; what cannot be meant is refused. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { glossa, json } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-sae-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))
const text = join(folder, 'stories.txt')
const starter = 'models/starter'
const out = join(folder, 'run')

beforeAll(() => {
  const names = ['Lily', 'Tom', 'Anna', 'Ben']
  const stories = Array.from(
    { length: 160 },
    (_, i) =>
      `${names[i % 4]} saw ${names[(i * 3 + 1) % 4]} in the park. "Hello!" said ${names[i % 4]}. They ran home.`,
  )
  writeFileSync(text, stories.join('\n<|endoftext|>\n'))
})

interface Trained {
  readonly end: string
  readonly step: number
  readonly saes: readonly { readonly name: string; readonly folder: string; readonly l0: number }[]
}

describe('glossa sae', { timeout: 240_000 }, () => {
  let sae: string
  it('trains by flags', async () => {
    const result = await json<Trained>(
      ...['sae', 'train', '-m', starter, '--site', 'blocks.2.hook_resid_post', '--file', text, '-o', out],
      ...[
        '--k',
        '8',
        '--expansion',
        '2',
        '--batch',
        '256',
        '--tokens',
        '2560',
        '--length',
        '32',
        '--held-out',
        '0.1',
      ],
    )
    expect(result).toMatchObject({ end: 'done', step: 10 })
    const [one] = result.saes
    expect(one!.name).toBe('topk-2_resid_post')
    expect(one!.l0).toBeLessThanOrEqual(8)
    sae = one!.folder
    expect(JSON.parse(readFileSync(join(sae, 'cfg.json'), 'utf8'))).toMatchObject({
      architecture: 'topk',
      d_in: 128,
      d_sae: 256,
      k: 8,
      metadata: { hook_name: 'blocks.2.hook_resid_post' },
    })
    const again = await glossa(
      'sae',
      'train',
      '-m',
      starter,
      '--site',
      'blocks.2.hook_resid_post',
      '--file',
      text,
      '-o',
      out,
    )
    expect(again.code).toBe(1)
    expect(again.stderr).toMatch(/there is a run already; resume it/)
  })

  it('evaluates', async () => {
    const { saes } = await json<{ saes: Record<string, number>[] }>(
      ...['sae', 'eval', '-m', starter, '--sae', sae, '--file', text, '--held-out', '0.2', '--tokens', '512'],
    )
    const [found] = saes
    expect(found!.ce_loss_score).toBeLessThan(1)
    expect(found!.tokens).toBeGreaterThan(100)
    const shown = await glossa(
      ...['sae', 'eval', '-m', starter, '--sae', sae, '--file', text, '--held-out', '0.2', '-o', folder],
    )
    expect(shown.stdout).toMatch(/explained_variance +\d/)
    expect(shown.stdout).toMatch(/10\^-\d/)
    expect(existsSync(join(folder, 'density.svg'))).toBe(true)
  })

  it('shows features', async () => {
    const { features } = await json<{
      features: {
        feature: number
        contexts: { activation: number; text: string[]; activations: number[] }[]
      }[]
    }>('sae', 'show', '-m', starter, '--sae', sae, '--file', text, '--feature', '3,200', '--top', '2')
    expect(features.map(({ feature }) => feature)).toEqual([3, 200])
    for (const { contexts } of features) {
      for (const { activation, text: pieces, activations } of contexts) {
        expect(pieces.length).toBe(activations.length)
        expect(Math.max(...activations)).toBe(activation)
      }
      expect(contexts[0]?.activation ?? 1).toBeGreaterThanOrEqual(contexts[1]?.activation ?? 0)
    }
    const shown = await glossa('sae', 'show', '-m', starter, '--sae', sae, '--file', text, '--top', '2')
    expect(shown.code).toBe(0)
    expect(shown.stdout).toMatch(/feature \d+: active on/)
    expect(shown.stdout).toMatch(/up {4}"/)
    expect(shown.stdout).toMatch(/«/)
  })

  const refusals: readonly (readonly [string[], RegExp])[] = [
    [['sae', 'train', '-m', starter], /--site is missing/],
    [['sae', 'eval', '-m', starter, '--file', 'x'], /--sae is missing/],
    [['sae', 'show', '--k', '3', '-m', starter], /--k is not for sae show/],
    [['sae', 'train', '--recipe', 'r.json', '--k', '4'], /--k is a matter of the recipe/],
    [
      ['sae', 'train', '-m', starter, '--site', 'a', '--file', 'x', '--kind', 'gated', '--k', '4'],
      /--k is of topk/,
    ],
    [['sae', 'prune'], /train, eval, show, explain or features/],
  ]
  it('refuses what it cannot mean', async () => {
    for (const [args, message] of refusals) {
      const { code, stderr } = await glossa(...args)
      expect(code, args.join(' ')).toBe(2)
      expect(stderr).toMatch(message)
    }
    const missing = await glossa('sae', 'eval', '-m', starter, '--sae', folder, '--file', text)
    expect(missing.code).toBe(1)
    expect(missing.stderr).toMatch(/neither sae_weights.safetensors/)
  })
})
