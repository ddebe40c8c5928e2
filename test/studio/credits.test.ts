/** Which method made a token likelier, on the Write page: against log-probabilities computed apart. */
import { afterAll, expect, it } from 'vitest'
import type { Tensor } from '../../src/array/index.ts'
import { complete, promptTokens, type Rule } from '../../src/decode/index.ts'
import { type Edits, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { bundledModel } from '../../src/store/index.ts'
import type { Bench } from '../../src/studio/operation.ts'
import { write } from '../../src/studio/operations/write.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const model = Model.open(bundledModel('tiny')!, engine)
afterAll(() => engine.dispose())

const halved: Edits = { 'blocks.1.hook_mlp_out': (x: Tensor) => x.mul(0.5) }
const none: Edits = { 'blocks.2.hook_attn_out': (x: Tensor) => x.mul(0) }
const likeEven: Rule = (logits) => {
  for (let i = 0; i < logits.length; i += 2) logits[i]! += 2
}
const stack: Record<string, { edit: Edits; rules: Rule[] }> = {
  halved: { edit: halved, rules: [] },
  even: { edit: {}, rules: [likeEven] },
  none: { edit: none, rules: [] },
}
const bench = {
  pool: {
    streamWith: (_: string, use: (open: object) => unknown) =>
      use({ kind: 'decoder', model, rules: [], methods: async ([id]: [string]) => stack[id]! }),
  },
} as unknown as Bench

interface Event {
  readonly id: number
  readonly logprob?: number
  readonly entropy?: number
  readonly top?: { logprob: number }[]
  readonly by?: { id: string; nats: number }[]
  readonly edits?: { id: string; nats: number[] }[]
}

/** Log-probabilities in float64 of every next token after a text, with what the rule adds. */
async function logprobs(edit: Edits, ids: number[], rule?: Rule): Promise<Float64Array> {
  const { logits } = await model.run([ids], { read: ['logits'], edit })
  const { vocab } = model.spec
  const last = (logits!.data as Float32Array).slice(-vocab)
  rule?.(last, { tokens: ids, promptLength: 0, random: () => 0 })
  const total = Math.log(last.reduce((sum, x) => sum + Math.exp(x), 0))
  return Float64Array.from(last, (x) => x - total)
}

it('writes what generation writes, and shows the distribution before temperature and the cut of the tail', async () => {
  const input = {
    model: 'tiny',
    prompt: 'The little dog',
    maxTokens: 12,
    temperature: 0.6,
    topP: 0.9,
    seed: 5,
  }
  const events: Event[] = []
  const run = write.run(bench, { ...input, with: [] }, new AbortController().signal)
  for await (const event of run as AsyncIterable<Event>) events.push(event)
  const { maxTokens, temperature, topP, seed } = input
  const [own] = await complete(model, [input.prompt], { maxTokens, temperature, topP, seed })
  const written = events.slice(0, -1)
  expect(written.map(({ id }) => id)).toEqual(own!.tokens)
  const all = await logprobs({}, promptTokens(model, input.prompt))
  const [{ id, logprob, entropy, top }] = written as [Event]
  expect(logprob).toBeCloseTo(all[id]!, 4)
  expect(top!.map((one) => one.logprob)).toEqual(
    [...all]
      .sort((a, b) => b - a)
      .slice(0, 8)
      .map((x) => expect.closeTo(x, 4)),
  )
  expect(entropy).toBeCloseTo(-all.reduce((sum, x) => sum + Math.exp(x) * x, 0), 4)
})

it('is told of every rule and edit, in their order', async () => {
  const input = { model: 'tiny', prompt: 'The little dog', maxTokens: 8, temperature: 1, topP: 1, seed: 3 }
  const events: Event[] = []
  const run = write.run(bench, { ...input, with: ['halved', 'even', 'none'] }, new AbortController().signal)
  for await (const event of run as AsyncIterable<Event>) events.push(event)
  const { edits } = events.at(-1)!
  expect(edits!.map(({ id }) => id)).toEqual(['halved', 'none'])
  const ids = promptTokens(model, input.prompt)
  const written = events.slice(0, -1)
  expect(written).toHaveLength(8)
  for (const [i, { id, by }] of written.entries()) {
    const [plain, first, both, ruled] = [
      await logprobs({}, ids),
      await logprobs(halved, ids),
      await logprobs({ ...halved, ...none }, ids),
      await logprobs({ ...halved, ...none }, ids, likeEven),
    ]
    expect(by).toEqual([{ id: 'even', nats: expect.closeTo(ruled[id]! - both[id]!, 4) }])
    expect(edits![0]!.nats[i]).toBeCloseTo(first[id]! - plain[id]!, 4)
    expect(edits![1]!.nats[i]).toBeCloseTo(both[id]! - first[id]!, 4)
    ids.push(id)
  }
})
