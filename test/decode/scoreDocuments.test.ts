import { afterAll, describe, expect, it } from 'vitest'
import { promptTokens, scoreDocuments, scoreTokens } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { bundledModel } from '../../src/store/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = Model.open(bundledModel('starter')!, engine)
const texts = [
  'The little dog was happy.',
  'Once upon a time, there was a girl named Lily. '.repeat(30),
  'é',
  'She saw a bird in the tree and said, "Hello!"',
]

describe('scoring documents', () => {
  it('gives each what it has alone, however they are batched', async () => {
    const done: number[] = []
    const score = await scoreDocuments(model, texts, { onProgress: (count) => done.push(count) })
    expect(done.at(-1)).toBe(texts.length)
    let [nats, bytes, tokens] = [0, 0, 0]
    for (const [i, text] of texts.entries()) {
      const alone = await scoreTokens(model, promptTokens(model, text))
      const sum = alone.reduce((a, b) => a + b, 0)
      expect(score.each[i]!.loglikelihood).toBeCloseTo(sum, 2)
      // The begin-of-text token comes first, so every byte is scored.
      expect(score.each[i]!.bytes).toBe(Buffer.byteLength(text))
      expect(score.each[i]!.tokens).toBe(alone.length)
      nats -= sum
      bytes += Buffer.byteLength(text)
      tokens += alone.length
    }
    expect(score).toMatchObject({ documents: 4, bytes, tokens })
    expect(score.bitsPerByte).toBeCloseTo(nats / Math.LN2 / bytes, 5)
  })

  it('has the standard error of a ratio of sums', async () => {
    const { each, bytes, bitsPerByte, standardError } = await scoreDocuments(model, texts)
    const residuals = each.map((one) => -one.loglikelihood / Math.LN2 - bitsPerByte * one.bytes)
    const mean = residuals.reduce((a, b) => a + b, 0) / 4
    expect(mean).toBeCloseTo(0, 6)
    const deviation = Math.sqrt(residuals.reduce((sum, r) => sum + (r - mean) ** 2, 0) / 3)
    expect(standardError).toBeCloseTo((deviation * Math.sqrt(4)) / bytes, 9)
    expect((await scoreDocuments(model, texts.slice(0, 1))).standardError).toBeNull()
  })

  it('refuses what cannot be measured', async () => {
    await expect(scoreDocuments(model, [])).rejects.toThrow('there are no documents')
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(scoreDocuments(model, texts, { signal })).rejects.toThrow('enough')
  })
})
