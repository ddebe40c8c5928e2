import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { scoreBatch, scoreStepwise, scoreTokens } from '../../src/decode/index.ts'
import { Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'
import { finish, gpt2Tiny, json, llamaTiny, llamaTiny16, start, storiesBin } from './glossa.ts'

interface Scored {
  tokens: number
  loglikelihood: number
  perplexity: number | null
  bitsPerByte: number | null
  bytes: number | null
  ids: number[]
  logprobs: number[]
  weights: string
}

/** How far the ways of scoring may be apart, in nats. */
const apart = {
  /** Other orders of the same f32 sums: measured 1.4e-5 a token. */
  rounding: { atol: 1e-4, rtol: 0 },
  /**
   * Rounded weights meet activations that are rounded too, in blocks that depend on how many rows a product has:
   * measured 0.06 (int8) and 0.2 (int4) for the worst token between the whole text and step by step.
   */
  roundedActivations: { int8: 0.2, int4: 0.8 },
  /** Loss that the rounding of weights may add, in nats a token: measured 0.0003 (int8) and 0.06 (int4). */
  loss: { int8: 0.02, int4: 0.25 },
} as const

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const story =
  'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she ' +
  'saw a zebra on a bicycle. "Where are you going?" she asked. The end.'

describe('scoring', () => {
  it.each([gpt2Tiny, llamaTiny, llamaTiny16])(
    '%s: log-probabilities are those of the reference',
    async (path) => {
      const reference = readReference(fixture(path.split('/').at(-1)!))
      const tokens = reference.get('tokens')!
      const [batch, time] = tokens.shape as [number, number]
      const rows = Array.from({ length: batch }, (_, i) => [...tokens.data.slice(i * time, (i + 1) * time)])
      const model = Model.open(path, engine)
      const expected = reference.get('logprobs')!.data
      allClose((await scoreBatch(model, rows)).flat(), expected, tolerance.f32)
      for (const [i, row] of rows.entries()) {
        const own = expected.slice(i * (time - 1), (i + 1) * (time - 1))
        allClose(await scoreTokens(model, row), own, tolerance.f32)
        allClose(await scoreStepwise(model, row), own, tolerance.f32)
      }
    },
  )

  it.skipIf(!storiesBin)('open, sealed, batched with padding, and step by step agree', async () => {
    const open = Model.open(storiesBin!, engine)
    const sealed = seal(open)
    const { ids } = open.tokenizer!.encode(story)
    const expected = await scoreTokens(open, ids)
    expect(expected).toHaveLength(ids.length - 1)
    allClose(await scoreTokens(sealed, ids), expected, apart.rounding)
    allClose(await scoreStepwise(open, ids), expected, apart.rounding)
    allClose(await scoreStepwise(sealed, ids), expected, apart.rounding)
    for (const model of [open, sealed]) {
      const rows = await scoreBatch(model, [ids.slice(0, 7), ids, [1], [...ids, ...ids]])
      expect(rows.map((row) => row.length)).toEqual([6, ids.length - 1, 0, 2 * ids.length - 1])
      allClose(rows[0]!, expected.slice(0, 6), apart.rounding)
      allClose(rows[1]!, expected, apart.rounding)
      allClose(rows[3]!.slice(0, expected.length), expected, apart.rounding)
    }
  })

  it.skipIf(!storiesBin).each(['int8', 'int4'] as const)('%s weights cost little', async (weights) => {
    const open = Model.open(storiesBin!, engine)
    const model = seal(open, { weights })
    const { ids } = open.tokenizer!.encode(story)
    const mean = (scores: readonly number[]): number => scores.reduce((a, b) => a + b, 0) / scores.length
    const whole = await scoreTokens(model, ids)
    const loss = mean(await scoreTokens(open, ids)) - mean(whole)
    console.log(`${weights}: ${loss.toFixed(4)} nats a token more`)
    expect(Math.abs(loss)).toBeLessThan(apart.loss[weights])
    allClose(await scoreStepwise(model, ids), whole, { atol: apart.roundedActivations[weights], rtol: 0 })
  })

  it.skipIf(!storiesBin)('reads long texts in windows, each token once', async () => {
    const model = Model.open(storiesBin!, engine)
    const { ids } = model.tokenizer!.encode(story.repeat(5))
    const window = 64
    const progress: number[] = []
    const scores = await scoreTokens(model, ids, { window, onProgress: (done) => progress.push(done) })
    expect(scores).toHaveLength(ids.length - 1)
    expect(progress.at(-1)).toBe(scores.length)
    // Score i is that of token i + 1 in the first window, beginning at a multiple of 32, that holds it.
    for (const i of [0, 40, 62, 63, 94, 95, 200, scores.length - 1]) {
      const start = Math.max(0, Math.ceil((i + 1 - (window - 1)) / 32) * 32)
      expect(i + 1 - start).toBeGreaterThanOrEqual(Math.min(i + 1, 32))
      const alone = await scoreTokens(model, ids.slice(start, i + 2))
      expect(scores[i]).toBeCloseTo(alone.at(-1)!, 3)
    }
  })

  it('stops when it is told to', async () => {
    const model = Model.open(llamaTiny, engine)
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(scoreTokens(model, [1, 2, 3], { signal })).rejects.toThrow('enough')
  })
})

describe('glossa score', () => {
  const readme = fileURLToPath(new URL('../fixtures/README.md', import.meta.url))

  it.skipIf(!storiesBin)('reports a text file', async () => {
    const scored = await json<Scored>('score', '-m', storiesBin!, '--text-file', readme)
    const { tokens, loglikelihood, perplexity, bitsPerByte, bytes, ids, logprobs } = scored
    const text = readFileSync(readme)
    expect(ids).toHaveLength(tokens)
    expect(ids[0]).toBe(1)
    expect(logprobs).toHaveLength(tokens - 1)
    expect(loglikelihood).toBeCloseTo(
      logprobs.reduce((a, b) => a + b, 0),
      6,
    )
    expect(perplexity).toBeCloseTo(Math.exp(-loglikelihood / (tokens - 1)), 6)
    // A begin token comes first, so every byte is scored.
    expect(bytes).toBe(text.length)
    expect(bitsPerByte).toBeCloseTo(-loglikelihood / Math.log(2) / text.length, 9)
  })

  it.skipIf(!storiesBin)('reads stdin, a text and token ids alike', async () => {
    const given = await json<Scored>('score', '-m', storiesBin!, '-p', story)
    const { stdout } = await finish(start(['score', '-m', storiesBin!, '--text-file', '-', '--json']), story)
    expect(JSON.parse(stdout)).toEqual(given)
    const ids = await json<Scored>('score', '-m', storiesBin!, '--tokens', given.ids.join())
    expect(ids.loglikelihood).toBe(given.loglikelihood)
    // A SentencePiece text begins with a space that the tokenizer has put there.
    expect(ids.bytes! - given.bytes!).toBe(1)
  })

  it.each([['f32'], ['int8'], ['int4']])('works without a tokenizer, %s', async (weights) => {
    const scored = await json<Scored>('score', '-m', llamaTiny16, '--tokens', '3,17,42', '--weights', weights)
    expect(scored).toMatchObject({ tokens: 3, bitsPerByte: null, bytes: null, ids: [3, 17, 42], weights })
    expect(scored.logprobs).toHaveLength(2)
  })

  it('has no perplexity of one token', async () => {
    const scored = await json<Scored>('score', '-m', llamaTiny, '--tokens', '3')
    expect(scored).toMatchObject({
      tokens: 1,
      loglikelihood: 0,
      perplexity: null,
      bitsPerByte: null,
      logprobs: [],
    })
  })

  it('scores the documents that a recipe would hold out', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glossa-score-'))
    try {
      const file = join(folder, 'stories.txt')
      const documents = ['The cat sat.', 'One day, a dog came.', 'They played.']
      writeFileSync(file, documents.join('\n<|endoftext|>\n'))
      const whole = await json('score', '-m', 'starter', '--documents', file)
      expect(whole).toMatchObject({ documents: 3, bytes: documents.join('').length })
      const last = await json<Scored>('score', '-m', 'starter', '--documents', file, '--held-out', '0.3')
      const alone = await json<Scored>('score', '-m', 'starter', '-p', 'They played.')
      expect(last).toMatchObject({ documents: 1, bytes: 12, standardError: null })
      expect(last.bitsPerByte).toBeCloseTo(alone.bitsPerByte!, 5)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('names what does not fit', async () => {
    const { stderr, code } = await finish(start(['score', '-m', 'starter', '-p', 'a', '--held-out', '0.3']))
    expect(code).not.toBe(0)
    expect(stderr).toContain('--held-out goes with --documents')
  })
})
