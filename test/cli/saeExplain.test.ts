/** `glossa sae explain` and `glossa sae features` on an SAE of which one feature is planted. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tensor } from '../../src/array/index.ts'
import { writeSaeLens } from '../../src/interp/sae/files/index.ts'
import { load } from '../../src/model/index.ts'
import { loadTokenizer } from '../../src/text/index.ts'
import { glossa, json } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-sae-explain-'))
afterAll(() => rmSync(folder, { recursive: true }))
const [text, sae, starter] = [join(folder, 'stories.txt'), join(folder, 'sae'), 'models/starter']

/** At the embeddings a token is one row: a feature along the row of ' park' is active on it, far above others. */
beforeAll(() => {
  const names = ['Lily', 'Tom', 'Anna', 'Ben']
  const stories = Array.from({ length: 400 }, (_, i) => {
    const place = i % 3 === 0 ? 'park' : i % 3 === 1 ? 'house' : 'garden'
    return `${names[i % 4]} saw ${names[(i * 3 + 1) % 4]} in the ${place}. "Hello!" said ${names[i % 4]}. They ran home.`
  })
  writeFileSync(text, stories.join('\n<|endoftext|>\n'))
  const { params, spec } = load(starter)
  const { width } = spec
  const [park] = loadTokenizer(starter).encode(' park').ids.slice(-1)
  const row = (params.embed as unknown as { data: Float32Array }).data.slice(
    park! * width,
    (park! + 1) * width,
  )
  const square = row.reduce((sum, value) => sum + value * value, 0)
  // Feature 0 is planted, feature 1 is never active.
  const [encoder, decoder] = [new Float32Array(width * 2), new Float32Array(2 * width)]
  row.forEach((value, i) => {
    encoder[i * 2] = value / square
    decoder[i] = value
  })
  writeSaeLens(sae, {
    config: {
      ...{ architecture: 'standard', dIn: width, dOut: width, dSae: 2, transcoder: false },
      ...{ subtractBias: false, normalize: 'none', site: 'hook_embed' },
    },
    params: {
      W_enc: tensor(encoder, [width, 2]),
      W_dec: tensor(decoder, [2, width]),
      b_dec: tensor(new Float32Array(width)),
      b_enc: tensor(Float32Array.of(-0.9, -1)),
    },
  })
})

interface Found {
  readonly feature: number
  readonly explanation?: string
  readonly top: readonly { readonly text: string }[]
  readonly scores?: { readonly detection: number; readonly fuzzing: number }
}

describe('glossa sae explain', { timeout: 240_000 }, () => {
  it('writes what features are, and how well it held', async () => {
    const { features, file } = await json<{ features: Found[]; file: string }>(
      ...['sae', 'explain', '-m', starter, '--sae', sae, '--file', text, '--length', '8'],
    )
    expect(features.map(({ feature }) => feature)).toEqual([0, 1])
    expect(features[0]!.explanation).toMatch(/^tokens " park" \d+ %$/)
    expect(features[0]!.scores).toMatchObject({ detection: 1 })
    expect(features[0]!.scores!.fuzzing).toBeGreaterThan(0.9)
    expect(features[0]!.top).toHaveLength(3)
    for (const { text: context } of features[0]!.top) expect(context).toContain('<< park>>')
    expect(features[1]!.explanation).toBeUndefined()
    expect(features[1]!.scores).toBeUndefined()
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
      kind: 'glossa explanations 1',
      model: starter,
    })
  })

  it('is searched by words', async () => {
    const found = async (words: string): Promise<number[]> =>
      (await json<{ features: Found[] }>('sae', 'features', '--sae', sae, '--search', words)).features.map(
        ({ feature }) => feature,
      )
    expect(await found('PARK')).toEqual([0])
    expect(await found('park in')).toEqual([0])
    expect(await found('zebra')).toEqual([])
    const shown = await glossa('sae', 'features', '--sae', sae, '--feature', '0')
    expect(shown.stdout).toContain('detection 1')
    expect((await glossa('sae', 'features', '--sae', sae)).stdout).toMatch(/feature +density.*\n.*" park"/)
  })

  it('refuses what cannot be meant', async () => {
    expect((await glossa('sae', 'features', '--sae', folder)).stderr).toMatch(/glossa sae explain writes it/)
    expect((await glossa('sae', 'features', '--sae', sae, '-m', starter)).code).toBe(2)
    expect((await glossa('sae', 'show', '--search', 'x')).stderr).toMatch(/--search is not for sae show/)
    const broken = join(folder, 'broken')
    writeSaeLens(broken, {
      config: {
        ...{ architecture: 'standard', dIn: 1, dOut: 1, dSae: 1, transcoder: false },
        ...{ subtractBias: false, normalize: 'none', site: 'hook_embed' },
      },
      params: {
        W_enc: tensor([1], [1, 1]),
        W_dec: tensor([1], [1, 1]),
        b_dec: tensor([0]),
        b_enc: tensor([0]),
      },
    })
    expect(existsSync(broken)).toBe(true)
    writeFileSync(join(broken, 'explanations.json'), '{"kind":"glossa explanations 1"}')
    expect((await glossa('sae', 'features', '--sae', broken)).stderr).toMatch(/explanations\.json.*model/)
  })
})
