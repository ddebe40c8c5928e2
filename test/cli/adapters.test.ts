/** `--lora` in the command line, against the PyTorch fixtures of test/fixtures/adapters. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'
import { glossa, gpt2Tiny, json, llamaTiny } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-lora-'))
afterAll(() => rmSync(folder, { recursive: true }))

const lora = 'test/fixtures/adapters/llama-tiny/lora'
const row = [...readReference(fixture('llama-tiny')).get('tokens')!.data].slice(0, 12)

describe('--lora', () => {
  it.each([
    [llamaTiny, 'llama-tiny/lora'],
    [llamaTiny, 'llama-tiny/prefix'],
    [gpt2Tiny, 'gpt2-tiny/prompt'],
    [gpt2Tiny, 'gpt2-tiny/dora'],
  ])('%s generates with %s', async (model, name) => {
    const golden = [...readReference(fixture(`adapters/${name}`)).get('greedy')!.data]
    const prompt = golden.slice(0, 5).join(',')
    const found = await json<{ tokens: number[] }>(
      ...['generate', '-m', model, '--tokens', prompt, '--temp', '0', '-n', '10'],
      ...['--lora', `test/fixtures/adapters/${name}`],
    )
    // The model's own end of text cuts the continuation.
    const { eos_token_id: end } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'))
    const [cut] = [golden.indexOf(end, 5), golden.length].filter((at) => at >= 0)
    expect(found.tokens).toEqual(golden.slice(5, cut))
  })

  it('scores with adapters whose strengths add up', async () => {
    const score = async (...adapters: string[]): Promise<number[]> => {
      const args = ['score', '-m', llamaTiny, '--tokens', row.join(',')]
      return (await json<{ logprobs: number[] }>(...args, ...adapters.flatMap((a) => ['--lora', a]))).logprobs
    }
    const [whole, halves, none, base] = await Promise.all([
      score(lora),
      score(`${lora}:0.25`, `${lora}:0.75`),
      score(`${lora}:0`),
      score(),
    ])
    allClose(halves, whole, { ...tolerance.f32, name: 'log-probabilities' })
    expect(none).toEqual(base)
    expect(Math.max(...whole.map((x, i) => Math.abs(x - base[i]!)))).toBeGreaterThan(0.1)
  })

  it('exports a model with the adapter in its weights', async () => {
    const output = join(folder, 'model.onnx')
    await json('export', '-m', llamaTiny, '-o', output, '--lora', lora)
    const session = await InferenceSession.create(output)
    const ids = readReference(fixture('llama-tiny')).get('tokens')!
    const input = new Tensor('int64', BigInt64Array.from([...ids.data], BigInt), ids.shape)
    const { logits } = await session.run({ input_ids: input })
    const expected = readReference(fixture('adapters/llama-tiny/lora')).get('logits')!
    allClose(logits!.data as Float32Array, expected.data, { ...tolerance.f32, name: 'logits' })
  })

  it.each([
    ['there is no such folder', llamaTiny, 'no/such/adapter'],
    ['no/such/adapter:x/adapter_config.json: missing', llamaTiny, 'no/such/adapter:x'],
    ["the model has no module 'q_proj'", gpt2Tiny, lora],
    ['a soft prompt is there or not', gpt2Tiny, 'test/fixtures/adapters/gpt2-tiny/prompt:0.5'],
    ['not NaN', llamaTiny, `${lora}:1.2.3`],
  ])('says: %s', async (message, model, adapter) => {
    const { stderr, code } = await glossa('score', '-m', model, '--tokens', '1,2,3', '--lora', adapter)
    expect(stderr).toContain(message)
    expect(code).toBe(1)
  })
})
