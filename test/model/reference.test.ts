/** The decoder against an independent PyTorch implementation; see test/fixtures/README.md. */
import { afterAll, describe, expect, it } from 'vitest'
import { backpropagate, leaves, scalar, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { type DecoderParams, load, Model, rotaryTables, sites } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { adamw, nextTokenLoss, trainingStep } from '../../src/train/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime())
afterAll(() => engine.dispose())

describe.each(['gpt2-tiny', 'llama-tiny', 'llama-tiny-16'])('%s', (name) => {
  const reference = readReference(fixture(name))
  const model = Model.open(fixture(name), engine)
  const { spec } = model
  const names = new Map(pathsOf(load(fixture(name)).names))
  const expected = (key: string) => {
    const entry = reference.get(key)
    if (!entry) throw new Error(`the fixture has no '${key}'`)
    return entry
  }
  const tokens = tensor(expected('tokens').data as Int32Array, expected('tokens').shape)
  const rotary = rotaryTables(spec)
  const loss = (params: DecoderParams) => nextTokenLoss(spec, params, tokens, rotary)

  it('gives every activation', async () => {
    const all = [...sites(spec).keys()]
    const taps = await model.run(tokens, { read: all })
    expect(Object.keys(taps).sort()).toEqual([...all].sort())
    for (const site of all) {
      const { data, shape } = expected(site)
      expect(taps[site]!.sizes, site).toEqual(shape)
      // Scores that causality hides are -1e30 there and -inf here.
      allClose(taps[site]!.data as Float32Array, data, {
        ...tolerance.f32,
        name: site,
        where: (_, e) => e > -1e29,
      })
    }
  })

  it('gives log-probabilities', async () => {
    const scores = await model.score(tokens)
    expect(scores.sizes).toEqual(expected('logprobs').shape)
    allClose(scores.data as Float32Array, expected('logprobs').data, { ...tolerance.f32, name: 'logprobs' })
  })

  it('gives the loss and every gradient', async () => {
    const step = engine.jit((params: DecoderParams) => valueAndGrad(loss)(params))
    const [value, grads] = await step(model.params)
    allClose(value.data as Float32Array, expected('loss').data, { ...tolerance.f32, name: 'loss' })
    const found = leaves(grads)
    expect(found.length).toBe(names.size)
    for (const [path, grad] of found) {
      const key = `grad.${names.get(path)}`
      expect(grad.sizes, key).toEqual(expected(key).shape)
      allClose(grad.data as Float32Array, expected(key).data, { ...tolerance.gradient, name: key })
    }
    step.dispose()
  })

  it('takes ten AdamW steps', async () => {
    const optimizer = adamw({ weightDecay: 0.01, decays: 'all' })
    using step = trainingStep(engine, spec, optimizer)
    let params = model.params
    let state = optimizer.init(params)
    const losses: number[] = []
    for (let i = 0; i < 10; i++) {
      const result = await step(params, state, tokens, tensor([1e-3], []))
      losses.push(result.loss.item())
      ;({ params, state } = result)
    }
    losses.push((await step(params, state, tokens, tensor([0], []))).loss.item())
    allClose(Float32Array.from(losses), expected('adam.loss').data, { ...tolerance.adam, name: 'losses' })
    // The step above had rate 0, but its arguments were given away: train again for the parameters.
    params = model.params
    state = optimizer.init(params)
    for (let i = 0; i < 10; i++) ({ params, state } = await step(params, state, tokens, tensor([1e-3], [])))
    for (const [path, value] of leaves(params)) {
      const key = names.get(path)!
      const skip = new Set(reference.get(`unstable.${key}`)?.data)
      allClose(value.data as Float32Array, expected(`adam.${key}`).data, {
        ...tolerance.adam,
        name: key,
        where: (i) => !skip.has(i),
      })
    }
  })

  it('differentiates twice: Hessian-vector products', async () => {
    const checked = [...reference.keys()].filter(
      (key) => key.startsWith('hvp.') && !key.startsWith('hvp.vector.'),
    )
    expect(checked.length).toBeGreaterThan(1)
    for (const key of checked) {
      const parameter = key.slice('hvp.'.length)
      const path = [...names].find(([, own]) => own === parameter)![0]
      const { data, shape } = expected(`hvp.vector.${parameter}`)
      const vector = tensor(data as Float32Array, shape)
      const product = engine.jit((params: DecoderParams, v: Tensor) => {
        const leaf = new Map(leaves(params)).get(path)!
        const gradient = backpropagate([loss(params)], [scalar(1)], [leaf])[0]!
        return backpropagate([gradient.mul(v).sum()], [scalar(1)], [leaf])[0]!
      })
      const result = await product(model.params, vector)
      allClose(result.data as Float32Array, expected(key).data, { ...tolerance.secondOrder, name: key })
      product.dispose()
    }
  })

  it('continues greedily through the cache', async () => {
    const golden = [...expected('greedy').data]
    const [result] = await complete(model, [golden.slice(0, 5)], {
      temperature: 0,
      maxTokens: golden.length - 5,
    })
    expect(result!.tokens).toEqual(golden.slice(5))
  })
})

/** Leaves of a tree of names with their paths. */
function pathsOf(tree: unknown, path = ''): [string, string][] {
  if (typeof tree === 'string') return [[path, tree]]
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([key, child]) => pathsOf(child, path ? `${path}.${key}` : key))
}
