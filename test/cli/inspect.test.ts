import { describe, expect, it } from 'vitest'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'
import { glossa, gpt2Tiny, json, llamaTiny, storiesBin } from './glossa.ts'

interface Inspected {
  site: string
  dtype: string
  shape: number[]
  tokens: number[]
  data: (number | null)[]
}

const sites = [
  'hook_embed',
  'blocks.0.hook_resid_pre',
  'blocks.1.attn.hook_q',
  'blocks.1.attn.hook_attn_scores',
  'blocks.1.attn.hook_pattern',
  'blocks.2.attn.hook_result',
  'blocks.2.mlp.hook_post',
  'ln_final.hook_normalized',
  'logits',
]

describe('glossa inspect', () => {
  it.each([gpt2Tiny, llamaTiny])('%s: activations are those of the reference', async (model) => {
    const reference = readReference(fixture(model.split('/').at(-1)!))
    const tokens = reference.get('tokens')!
    const row = [...tokens.data.slice(0, tokens.shape[1]!)]
    const taps = sites.flatMap((site) => ['--tap', site])
    const read = await json<Inspected[]>('inspect', '-m', model, '--tokens', row.join(), ...taps)
    expect(read.map(({ site }) => site)).toEqual(sites)
    for (const { site, shape, data, dtype, tokens: ids } of read) {
      const expected = reference.get(site)!
      expect(shape).toEqual([1, ...expected.shape.slice(1)])
      expect({ dtype, ids }).toEqual({ dtype: 'f32', ids: row })
      // Scores that causality hides are null here and -1e30 there.
      const hidden = (_: number, value: number): boolean => value > -1e29
      const numbers = data.map((value) => value ?? Number.NEGATIVE_INFINITY)
      allClose(numbers, expected.data.slice(0, data.length), { ...tolerance.f32, name: site, where: hidden })
    }
    const scores = read.find(({ site }) => site.endsWith('attn_scores'))!
    expect(scores.data[1]).toBeNull()
  })

  it('gives one object for one site, nested if asked', async () => {
    const args = ['inspect', '-m', llamaTiny, '--tokens', '3,17,42', '--tap', 'logits']
    const flat = await json<Inspected>(...args)
    const { data, shape } = await json<{ data: number[][][]; shape: number[] }>(...args, '--nested')
    expect(shape).toEqual([1, 3, 101])
    expect(flat.data).toHaveLength(3 * 101)
    expect(data.flat(2)).toEqual(flat.data)
    expect(data[0]![2]).toHaveLength(101)
  })

  it.each(['int8', 'int4'])('looks into %s models', async (weights) => {
    const args = ['inspect', '-m', 'test/fixtures/llama-tiny-16', '--tokens', '3,17,42', '--tap', 'logits']
    const exact = await json<Inspected>(...args)
    const rounded = await json<Inspected>(...args, '--weights', weights)
    const difference = Math.max(...exact.data.map((x, i) => Math.abs(x! - rounded.data[i]!)))
    expect(difference).toBeGreaterThan(0)
    expect(difference).toBeLessThan(weights === 'int8' ? 0.5 : 5)
  })

  it('lists the sites with the meaning of their axes', async () => {
    const listed = await json<{ family: string; sites: { site: string; shape: string[] }[] }>(
      ...['inspect', '-m', llamaTiny],
    )
    expect(listed).toMatchObject({ family: 'llama', layers: 3, width: 32, vocab: 101, tokenizer: false })
    expect(listed.sites).toContainEqual({
      site: 'blocks.2.attn.hook_pattern',
      shape: ['batch', 'H', 'T', 'keys'],
    })
    const { stdout } = await glossa('inspect', '-m', llamaTiny)
    expect(stdout).toContain('blocks.N.attn.hook_pattern')
    expect(stdout).toContain('N: 0 to 2')
  })

  const families = 'test/fixtures/families'

  it('lists the sites of encoders and encoder-decoders', async () => {
    const encoder = await json<{ sites: { site: string; shape: string[] }[] }>(
      'inspect',
      '-m',
      `${families}/roberta`,
    )
    expect(encoder).toMatchObject({ kind: 'encoder', family: 'roberta', layers: 2, width: 16, context: 62 })
    expect(encoder.sites).toContainEqual({ site: 'sentence.mean', shape: ['batch', 'width'] })
    const t5 = await json<{ sites: { site: string; shape: string[] }[] }>(
      'inspect',
      '-m',
      `${families}/t5-gated`,
    )
    expect(t5).toMatchObject({ kind: 'encoder-decoder', layers: { encoder: 2, decoder: 3 }, context: null })
    expect(t5.sites.map(({ site }) => site)).toContain('decoder.blocks.2.cross.hook_pattern')
    const { stdout } = await glossa('inspect', '-m', `${families}/t5-gated`)
    expect(stdout).toContain('decoder.blocks.N.cross.hook_pattern')
    expect(stdout).toContain('0 to 1 of the encoder, 0 to 2 of the decoder')
  })

  it('looks into an encoder', async () => {
    const reference = readReference(fixture('families/bert'))
    const row = [...reference.get('tokens')!.data.slice(0, 12)]
    const [state, pattern] = await json<Inspected[]>(
      ...['inspect', '-m', `${families}/bert`, '--tokens', row.join()],
      ...['--tap', 'last_hidden_state', '--tap', 'blocks.1.attn.hook_pattern'],
    )
    expect([state!.shape, pattern!.shape]).toEqual([
      [1, 12, 16],
      [1, 2, 12, 12],
    ])
    for (const { site, data } of [state!, pattern!])
      allClose(data as number[], reference.get(site)!.data.slice(0, data.length), {
        ...tolerance.f32,
        name: site,
      })
  })

  it('looks into both sides of an encoder-decoder', async () => {
    const reference = readReference(fixture('families/t5'))
    const row = [...reference.get('tokens')!.data.slice(0, 12)]
    const targets = [...reference.get('targets')!.data.slice(0, 16)]
    const site = 'decoder.blocks.1.cross.hook_pattern'
    const read = await json<Inspected & { targets: number[] }>(
      ...['inspect', '-m', `${families}/t5`, '--tokens', row.join(), '--tap', site],
      ...['--target-tokens', targets.slice(1).join()],
    )
    expect(read).toMatchObject({ shape: [1, 2, 16, 12], tokens: row, targets })
    // Scores of T5 are not scaled: see test/model/families.test.ts.
    allClose(read.data as number[], reference.get(site)!.data.slice(0, read.data.length), {
      atol: 1e-4,
      rtol: 1e-4,
    })
  })

  it.skipIf(!storiesBin)('summarises for people', async () => {
    const { stdout, code } = await glossa(
      ...['inspect', '-m', storiesBin!, '-p', 'Once upon a time', '--tap', 'blocks.0.attn.hook_pattern'],
    )
    expect(code).toBe(0)
    const [head, line] = stdout.split('\n')
    expect(head).toMatch(/^site +shape +mean +std +min +max +first values$/)
    // 5 tokens, 8 heads; the rows of a pattern sum to 1.
    expect(line).toMatch(/^blocks\.0\.attn\.hook_pattern {2}\[1, 8, 5, 5\] +0\.2 /)
  })
})
