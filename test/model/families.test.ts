/**
 * Every family against Hugging Face transformers: tiny random checkpoints whose activations, loss, gradients and
 * greedy text it has recorded; see test/fixtures/README.md.
 */
import { readdirSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { type DecoderParams, load, Model, rotaryTables, seal, sites } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { nextTokenLoss } from '../../src/train/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const folders = readdirSync(fixture('families')).sort()
const decoders = folders.filter((name) => readReference(fixture(`families/${name}`)).has('greedy'))
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array

describe.each(decoders)('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const reference = readReference(folder)
  const expected = (key: string) => reference.get(key)!
  const model = Model.open(folder, engine)
  const { spec } = model
  const tokens = tensor(expected('tokens').data as Int32Array, expected('tokens').shape)
  const rotary = rotaryTables(spec)

  it('gives the logits and every recorded activation', async () => {
    const known = sites(spec)
    const recorded = [...reference.keys()].filter((key) => known.has(key))
    expect(recorded).toContain('logits')
    // At least the residual stream and the attention pattern of each layer.
    expect(recorded.length).toBeGreaterThan(3 * spec.layers)
    const missed = [...reference.keys()].filter((key) => /hook_/.test(key) && !known.has(key))
    expect(missed).toEqual([])
    const taps = await model.run(tokens, { read: recorded })
    for (const site of recorded)
      allClose(
        { shape: taps[site]!.sizes, data: floats(taps[site]) },
        expected(site) as { shape: number[]; data: Float32Array },
        {
          ...tolerance.f32,
          name: site,
        },
      )
  })

  it('gives the loss and every gradient', async () => {
    const names = new Map(pathsOf(load(folder).names))
    const loss = (params: DecoderParams) => nextTokenLoss(spec, params, tokens, rotary)
    using step = engine.jit((params: DecoderParams) => valueAndGrad(loss)(params))
    const [value, grads] = await step(model.params)
    allClose(floats(value), expected('loss').data, { ...tolerance.f32, name: 'loss' })
    const found = leaves(grads)
    expect(found.length).toBe(names.size)
    for (const [path, grad] of found) {
      const key = `grad.${names.get(path)}`
      allClose(
        { shape: grad.sizes, data: floats(grad) },
        expected(key) as { shape: number[]; data: Float32Array },
        {
          ...tolerance.gradient,
          name: key,
        },
      )
    }
  })

  it('continues greedily through the cache, alone and in a batch', async () => {
    const golden = [...expected('greedy').data]
    const prompts = [golden.slice(0, 5), golden.slice(0, 9)]
    const options = { temperature: 0, maxTokens: golden.length - 5, stopTokens: [] }
    const [alone] = await complete(model, [prompts[0]!], options)
    expect(alone!.tokens).toEqual(golden.slice(5))
    const batch = await complete(model, prompts, options)
    expect(batch[0]!.tokens).toEqual(golden.slice(5))
    expect(batch[1]!.tokens.slice(0, golden.length - 9)).toEqual(golden.slice(9))
  })

  it.each(['f32', 'int8', 'int4'] as const)('runs sealed in %s', async (weights) => {
    using sealed = seal(model, { weights, block: 16 })
    const { logits } = await sealed.run(tokens)
    const error = meanDistance(floats(logits), expected('logits').data as Float32Array)
    // Rounding noise, not another function: the rows of a wrong one would be unrelated (about √2).
    expect(error).toBeLessThan({ f32: 1e-5, int8: 0.04, int4: 0.5 }[weights])
  })
})

/** |a - b| / |b| over all elements. */
function meanDistance(a: Float32Array, b: Float32Array): number {
  const norm = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0))
  return norm(a.map((v, i) => v - b[i]!)) / norm(b)
}

/** Leaves of a tree of names with their paths. */
function pathsOf(tree: unknown, path = ''): [string, string][] {
  if (typeof tree === 'string') return [[path, tree]]
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([key, child]) => pathsOf(child, path ? `${path}.${key}` : key))
}
