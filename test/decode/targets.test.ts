/** Generation with an encoder-decoder, against what Hugging Face transformers recorded of T5. */
import { afterAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { Seq2Seq } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { fixture, readReference } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['t5', 't5-gated'])('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const model = Seq2Seq.open(folder, engine)
  const reference = readReference(folder)
  const { vocab } = model.spec
  const tokens = [...reference.get('tokens')!.data]
  const sources = [tokens.slice(0, 12), tokens.slice(12, 20)]
  const golden = [...reference.get('greedy')!.data]
  /** Log-probabilities of the first token of each target, by the recorded logits after the start token. */
  const first = [0, 1].map((row) => {
    const logits = [...reference.get('logits')!.data.slice(row * 16 * vocab, (row * 16 + 1) * vocab)]
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
    return logits.map((logit) => logit - total)
  })

  it('goes on greedily, sources of unequal length side by side', async () => {
    const options = { temperature: 0, maxTokens: golden.length, stopTokens: [], logprobs: 0 }
    const both = await complete(model, sources, options)
    expect(both[0]!.tokens).toEqual(golden)
    expect(both[0]!.promptTokens).toEqual(sources[0])
    for (const [row, { logprobs }] of both.entries()) {
      const best = Math.max(...first[row]!)
      expect(logprobs![0]!.token).toBe(first[row]!.indexOf(best))
      expect(logprobs![0]!.logprob).toBeCloseTo(best, 3)
    }
    const [alone] = await complete(model, [sources[1]!], options)
    expect(alone!.tokens).toEqual(both[1]!.tokens)
  })

  it('draws tokens as often as they are likely', async () => {
    const samples = 600
    const drawn = await complete(model, [sources[1]!], {
      temperature: 1,
      maxTokens: 1,
      samples,
      stopTokens: [],
      seed: 5,
    })
    const counts = new Float64Array(vocab)
    for (const { tokens } of drawn) counts[tokens[0]!]!++
    first[1]!.forEach((logprob, token) => {
      const share = Math.exp(logprob)
      // Five deviations of a share: one test in ten thousand would fail by chance, and the seed is fixed.
      expect(Math.abs(counts[token]! / samples - share)).toBeLessThan(
        5 * Math.sqrt((share * (1 - share)) / samples) + 1e-9 + 1 / samples,
      )
    })
  })

  it('ends at its end token, and takes edits of both sides', async () => {
    const end = golden[3]!
    const at = golden.indexOf(end)
    const options = { temperature: 0, maxTokens: golden.length }
    const [ended] = await complete(model, [sources[0]!], { ...options, stopTokens: [end] })
    expect(ended).toMatchObject({ tokens: golden.slice(0, at), finish: 'stop' })
    const asked = async (site: string): Promise<readonly number[]> => {
      const [result] = await complete(
        model,
        [sources[0]!],
        { ...options, stopTokens: [] },
        { edit: { [site]: (x) => x.mul(0) } },
      )
      return result!.tokens
    }
    expect(await asked('encoder.last_hidden_state')).not.toEqual(golden)
    // Logits of 0: the first token, for ever.
    expect(await asked('logits')).toEqual(golden.map(() => 0))
  })
})
