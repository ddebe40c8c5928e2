/** Tiny models of every family on the GPU, or on SwiftShader, against Hugging Face transformers and the processor. */
import { readdirSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor } from '../../src/array/index.ts'
import { complete, scoreTokens } from '../../src/decode/index.ts'
import { Encoder, Model, Seq2Seq } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { adamw, trainingStep } from '../../src/train/index.ts'
import { twoSteps } from '../browser/scenario.ts'
import { addTo, checkFamilies, type Shown } from '../familyTable.ts'
import { fixture, type ReferenceTensor, readReference } from '../reference.ts'
import { openGpu } from '../webgpu.ts'

const gpu = await openGpu()
const cpu = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => Promise.all([gpu?.dispose(), cpu.dispose()]))

/** Relative to 1 + |expected|: f32 sums in another order, and approximate exponentials. */
const tolerance = 2e-5
/** Logits of T5 are not scaled; see families.test.ts. */
const unscaled = 1e-4

const folders = readdirSync(fixture('families')).sort()
const references = new Map(folders.map((name) => [name, readReference(fixture(`families/${name}`))]))
const having = (key: string): string[] => folders.filter((name) => references.get(name)!.has(key))
const seq2seqs = having('targets')
const decoders = having('greedy').filter((name) => !seq2seqs.includes(name))
const encoders = having('mask').filter((name) => !seq2seqs.includes(name))

const ints = ({ data, shape }: ReferenceTensor): Tensor => tensor(Int32Array.from(data), shape)

type Numbers = ArrayLike<number | bigint>

function expectNear(actual: Numbers, expected: Numbers, limit = tolerance): void {
  expect(actual.length).toBe(expected.length)
  const distances = Array.from(
    expected,
    (x, i) => Math.abs(Number(actual[i]) - Number(x)) / (1 + Math.abs(Number(x))),
  )
  expect(Math.max(...distances)).toBeLessThan(limit)
}

/** For the table in docs/families.md. */
const shown: Shown = new Map()

describe.skipIf(!gpu)('on WebGPU', { timeout: 240_000 }, () => {
  it.each(decoders)('%s gives the logits and a tap', async (name) => {
    const reference = references.get(name)!
    const model = Model.open(fixture(`families/${name}`), gpu!)
    const site = 'blocks.1.hook_resid_post'
    const taps = await model.run(ints(reference.get('tokens')!), { read: ['logits', site] })
    expectNear(taps.logits!.data, reference.get('logits')!.data)
    expectNear(taps[site]!.data, reference.get(site)!.data)
    addTo(shown, name, 'webgpu')
  })

  it.each(encoders)('%s gives its last hidden state', async (name) => {
    const reference = references.get(name)!
    const model = Encoder.open(fixture(`families/${name}`), gpu!)
    const mask = ints(reference.get('mask')!)
    const { last_hidden_state: state } = await model.run(ints(reference.get('tokens')!), { mask })
    // What stands at padding says nothing.
    const seen = (x: ArrayLike<number>): Float32Array =>
      Float32Array.from(x, (value, i) => value * Number(mask.data[Math.floor(i / model.spec.width)]))
    expectNear(seen(state!.data as Float32Array), seen(reference.get('last_hidden_state')!.data))
    addTo(shown, name, 'webgpu')
  })

  it.each(seq2seqs)('%s gives the logits', async (name) => {
    const reference = references.get(name)!
    const model = Seq2Seq.open(fixture(`families/${name}`), gpu!)
    const mask = ints(reference.get('mask')!)
    const { logits } = await model.run(ints(reference.get('tokens')!), ints(reference.get('targets')!), {
      mask,
    })
    expectNear(logits!.data, reference.get('logits')!.data, unscaled)
    addTo(shown, name, 'webgpu')
  })

  it('gives what docs/families.md says', () => {
    checkFamilies(['webgpu'], shown)
  })

  // Without rotation, with a window; what is composed, for its soft cap, writes nothing in place.
  it.each([
    ['gpt-neo', true],
    ['mistral', true],
    ['gemma2', false],
  ])('%s continues greedily through its cache, alone and in a batch', async (name, inPlace) => {
    const folder = fixture(`families/${name}`)
    const model = Model.open(folder, gpu!)
    const golden = [...references.get(name)!.get('greedy')!.data]
    const options = { temperature: 0, maxTokens: golden.length - 5, stopTokens: [] }
    const batch = await complete(model, [golden.slice(0, 5), golden.slice(0, 9)], options)
    expect(batch[0]!.tokens).toEqual(golden.slice(5))
    expect(batch[1]!.tokens.slice(0, golden.length - 9)).toEqual(golden.slice(9))

    const steps = await twoSteps(model)
    expectNear(steps.logits, (await twoSteps(Model.open(folder, cpu))).logits)
    // The first cache came from the host, and stays as it is.
    expect(steps.inPlace).toEqual([false, inPlace])
  })

  it.each(['gpt-neo', 'gemma2', 'mixtral'])('%s scores and learns as on the processor', async (name) => {
    const tokens = ints(references.get(name)!.get('tokens')!)
    const [there, here] = [gpu!, cpu].map((engine) => Model.open(fixture(`families/${name}`), engine))
    const row = Array.from(tokens.data.subarray(0, tokens.sizes[1]), Number)
    const outcomes = []
    for (const model of [there!, here!]) {
      // Divided by its own size, a gradient that should be zero would be rounding made large.
      const optimizer = adamw({ weightDecay: 0.1, epsilon: 1e-3 })
      using step = trainingStep(model.engine, model.spec, optimizer)
      let trained = await step(model.params, optimizer.init(model.params), tokens, tensor([0.01], []))
      trained = await step(trained.params, trained.state, tokens, tensor([0.01], []))
      outcomes.push({ scores: await scoreTokens(model, row), ...trained })
    }
    const [actual, expected] = outcomes
    expectNear(actual!.scores, expected!.scores)
    expectNear(actual!.loss.data, expected!.loss.data)
    // Two steps move a parameter by about 0.01.
    const wanted = new Map(leaves(expected!.params))
    for (const [path, leaf] of leaves(actual!.params)) expectNear(leaf.data, wanted.get(path)!.data)
  })
})
