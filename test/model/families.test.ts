/**
 * Every family against Hugging Face transformers: tiny random checkpoints whose activations, loss, gradients and
 * greedy text it has recorded (gradients of encoders and T5: a PyTorch port that gives the same activations; Mamba: a
 * port of its slow path); see test/fixtures/README.md.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor, trace, valueAndGrad } from '../../src/array/index.ts'
import { interpret } from '../../src/array/interpret.ts'
import { complete } from '../../src/decode/index.ts'
import {
  type DecoderParams,
  Encoder,
  type EncoderParams,
  encodeForward,
  exportModel,
  load,
  loadEncoder,
  loadSeq2Seq,
  Model,
  rotaryTables,
  Seq2Seq,
  type Seq2SeqParams,
  seal,
  sites,
  Taps,
} from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { maskedTokenLoss, nextTokenLoss, targetLoss } from '../../src/train/index.ts'
import { addTo, checkFamilies, type Shown } from '../familyTable.ts'
import { allClose, fixture, type ReferenceTensor, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const folders = readdirSync(fixture('families')).sort()
const having = (key: string): string[] =>
  folders.filter((name) => readReference(fixture(`families/${name}`)).has(key))
const seq2seqs = having('targets')
const decoders = having('greedy').filter((name) => !seq2seqs.includes(name))
const encoders = having('mask').filter((name) => !seq2seqs.includes(name))
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array

/** What has been shown for each family, for the table in docs/families.md. */
const shown: Shown = new Map()
const columns = ['logits', 'taps', 'gradients', 'cache', 'batch', 'int8', 'int4', 'export'] as const
type Column = (typeof columns)[number]
const show = (name: string, ...what: Column[]): void => {
  addTo(shown, name, ...what)
}

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
    show(name, 'logits', 'taps')
  })

  it('gives the loss and every gradient', async () => {
    const loss = (params: DecoderParams) => nextTokenLoss(spec, params, tokens, rotary)
    using step = engine.jit((params: DecoderParams) => valueAndGrad(loss)(params))
    const [value, grads] = await step(model.params)
    allClose(floats(value), expected('loss').data, { ...tolerance.f32, name: 'loss' })
    compareGradients(grads, load(folder).names, reference)
    show(name, 'gradients')
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
    show(name, 'cache', 'batch')
  })

  it.each(['f32', 'int8', 'int4'] as const)('runs sealed in %s', async (weights) => {
    using sealed = seal(model, { weights, block: 16 })
    const { logits } = await sealed.run(tokens)
    const error = meanDistance(floats(logits), expected('logits').data as Float32Array)
    // A dozen products one after the other, each off by what rounding costs: in 8 bits 1.1 % for the weights
    // (their extreme / 127 / √12, extremes at 2.5 deviations) and as much for the activations; in 4 bits 13 %.
    const product = { f32: 3e-6, int8: 0.016, int4: 0.13 }[weights]
    expect(error).toBeLessThan(product * Math.sqrt(6 * spec.layers))
    if (weights !== 'f32') show(name, weights)
  })

  it('runs in plain ONNX Runtime when exported', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glossa-family-'))
    try {
      const path = join(folder, 'model.onnx')
      exportModel(model, path)
      const session = await InferenceSession.create(path)
      const ids = BigInt64Array.from(expected('tokens').data, (id) => BigInt(id))
      const { logits } = await session.run({
        input_ids: new OrtTensor('int64', ids, expected('tokens').shape),
      })
      allClose(logits!.data as Float32Array, expected('logits').data, { ...tolerance.f32, name: 'logits' })
    } finally {
      rmSync(folder, { recursive: true })
    }
    show(name, 'export')
  })
})

/** Every gradient of a tree against the reference's, found by the name of the parameter. */
function compareGradients(
  grads: unknown,
  names: unknown,
  reference: ReadonlyMap<string, ReferenceTensor>,
  prefix = 'grad.',
  limits: { atol: number; rtol: number } = tolerance.gradient,
): void {
  const known = new Map(pathsOf(names))
  const found = leaves(grads)
  expect(found.length).toBe(known.size)
  for (const [path, grad] of found) {
    const key = `${prefix}${known.get(path)}`
    const expected = reference.get(key) as { shape: number[]; data: Float32Array }
    allClose({ shape: grad.sizes, data: floats(grad) }, expected, { ...limits, name: key })
  }
}

const ints = ({ data, shape }: { data: ArrayLike<number>; shape: number[] }): Tensor =>
  tensor(Int32Array.from(data), shape)

/** Compares sites in rows that are padded at the end: what stands at padding says nothing. */
function compareRows(
  name: string,
  actual: Tensor,
  expected: { data: ArrayLike<number>; shape: number[] },
  mask: Int32Array,
  limits: { atol: number; rtol: number } = tolerance.f32,
): void {
  const { shape } = expected
  // [batch, T, ...] and [batch, heads, T, keys]: the axis of the tokens is the one before the last.
  const [time, inner] = [shape.at(-2)!, shape.at(-1)!]
  const heads = shape.length === 4 ? shape[1]! : 1
  allClose(
    { shape: actual.sizes, data: floats(actual) },
    expected as { shape: number[]; data: Float32Array },
    {
      ...limits,
      name,
      where(i) {
        const token = Math.floor(i / inner) % time
        const row = Math.floor(i / (inner * time * heads))
        return mask[row * time + token] === 1
      },
    },
  )
}

describe.each(encoders)('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const reference = readReference(folder)
  const model = Encoder.open(folder, engine)
  const mask = reference.get('mask')!

  it('gives every recorded activation, with a padded row', async () => {
    const recorded = [...reference.keys()].filter((key) => model.sites.has(key))
    expect(recorded.length).toBe(reference.size - 2)
    const taps = await model.run(ints(reference.get('tokens')!), { mask: ints(mask), read: recorded })
    for (const site of recorded) compareRows(site, taps[site]!, reference.get(site)!, mask.data as Int32Array)
    show(name, 'logits', 'taps', 'batch')
  })

  const input = {
    tokens: ints(reference.get('tokens')!),
    mask: ints(mask),
    segments: tensor(new Int32Array(mask.data.length), mask.shape),
  }
  const computed = readReference(folder, 'gradients.safetensors')
  const { names } = loadEncoder(folder)

  it.runIf(model.params.head)('gives the loss of masked tokens and every gradient', async () => {
    const labels = ints(computed.get('labels')!)
    const loss = (params: EncoderParams) => maskedTokenLoss(model.spec, params, input, labels)
    using step = engine.jit((params: EncoderParams) => valueAndGrad(loss)(params))
    const [value, grads] = await step(model.params)
    allClose(floats(value), computed.get('loss')!.data, { ...tolerance.f32, name: 'loss' })
    compareGradients(grads, names, computed)
    show(name, 'gradients')
  })

  it('gives sentence vectors, and every gradient of their size', async () => {
    const sites = ['sentence.mean', ...(model.params.pooler ? ['pooled'] : [])]
    const vectors = await model.run(input.tokens, {
      mask: input.mask,
      read: ['sentence.mean', 'sentence.first'],
    })
    for (const site of ['sentence.mean', 'sentence.first'])
      allClose(floats(vectors[site]), computed.get(site)!.data, { ...tolerance.f32, name: site })
    const size = (params: EncoderParams): Tensor => {
      const taps = new Taps(model.sites, { read: sites })
      encodeForward(model.spec, params, input, taps)
      return Object.values(taps.finish())
        .map((vector) => vector.pow(2).mean())
        .reduce((sum, part) => sum.add(part))
    }
    using step = engine.jit((params: EncoderParams) => valueAndGrad(size)(params))
    const [value, grads] = await step(model.params)
    allClose(floats(value), computed.get('square')!.data, { ...tolerance.f32, name: 'square' })
    compareGradients(grads, names, computed, 'square.grad.')
  })

  it('gives a row alone what it gives it beside another', async () => {
    const row = [...reference.get('tokens')!.data.slice(12, 20)]
    const { last_hidden_state: alone } = await model.run([row])
    const expected = reference.get('last_hidden_state')!
    const { width } = model.spec
    allClose(floats(alone), (expected.data as Float32Array).subarray(12 * width, 20 * width), tolerance.f32)
  })

  it('takes edits, and refuses sites that it does not have', async () => {
    const site = 'blocks.1.hook_resid_pre'
    const { last_hidden_state: same } = await model.run([[5, 6, 7]], { edit: { [site]: (x) => x.mul(1) } })
    const { last_hidden_state: plain } = await model.run([[5, 6, 7]])
    const { last_hidden_state: other } = await model.run([[5, 6, 7]], { edit: { [site]: (x) => x.mul(0) } })
    allClose(floats(same), floats(plain), tolerance.f32)
    expect(meanDistance(floats(other), floats(plain))).toBeGreaterThan(0.1)
    await expect(model.run([[5]], { read: ['blocks.9.hook_resid_pre'] })).rejects.toThrow(/no site/)
  })
})

/** Scores and residuals are not scaled: the fixtures' own f32 logits are 5.1e-5 from those in float64. */
const unscaled = { rtol: 1e-4, atol: 1e-4 }
/** PyTorch's own f32 gradients are up to 2.1e-4 from those in float64 (of values up to 1.5). */
const unscaledGradient = { rtol: 1e-4, atol: 4e-4 }

describe.each(seq2seqs)('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const reference = readReference(folder)
  const model = Seq2Seq.open(folder, engine)
  const mask = reference.get('mask')!

  it('gives every recorded activation, with a padded source', async () => {
    const recorded = [...reference.keys()].filter((key) => model.sites.has(key))
    expect(recorded.length).toBe(reference.size - 4)
    const [source, targets] = [reference.get('tokens')!, reference.get('targets')!].map(ints)
    const taps = await model.run(source!, targets!, { mask: ints(mask), read: recorded })
    const whole = new Int32Array(targets!.data.length).fill(1)
    for (const site of recorded) {
      const own = site.startsWith('encoder') ? (mask.data as Int32Array) : whole
      compareRows(site, taps[site]!, reference.get(site)!, own, unscaled)
    }
    show(name, 'logits', 'taps', 'batch')
  })

  it('gives the loss and every gradient', async () => {
    const computed = readReference(folder, 'gradients.safetensors')
    const { tokens, targets } = Object.fromEntries(
      ['tokens', 'targets'].map((key) => [key, ints(reference.get(key)!)]),
    ) as { tokens: Tensor; targets: Tensor }
    const input = { tokens, targets, mask: ints(mask) }
    const loss = (params: Seq2SeqParams) => targetLoss(model.spec, params, input)
    const { names } = loadSeq2Seq(folder)
    using step = engine.jit((params: Seq2SeqParams) => valueAndGrad(loss)(params))
    const [value, grads] = await step(model.params)
    allClose(floats(value), computed.get('loss')!.data, { ...tolerance.f32, name: 'loss' })
    compareGradients(grads, names, computed, 'grad.', unscaledGradient)
    // The very graph in float64, where only constants such as GELU's are f32: what is left above is rounding.
    const { graph } = trace(() => valueAndGrad(loss)(model.params)[1], [])
    const exact = interpret(graph, [])
    const paths = graph.outputs.map(({ name }) => name)
    const known = new Map(pathsOf(names))
    expect(paths.length).toBe(known.size)
    for (const [i, { data }] of exact.entries())
      allClose(data, computed.get(`grad.${known.get(paths[i]!)}`)!.data, {
        atol: 1e-5,
        rtol: 1e-6,
        name: paths[i]!,
      })
    show(name, 'gradients')
  })

  it('continues greedily', async () => {
    const golden = [...reference.get('greedy')!.data]
    const source = [...reference.get('tokens')!.data.slice(0, 12)]
    const stopping = golden.findIndex((token) => model.spec.ends.includes(token))
    const expected = stopping < 0 ? golden : golden.slice(0, stopping)
    const [result] = await complete(model, [source], { temperature: 0, maxTokens: golden.length })
    expect(result!.tokens).toEqual(expected)
  })
})

it("reads transformers 5's configurations, which differ", () => {
  for (const name of folders) {
    const newer = fixture(`families/${name}/config.v5.json`)
    if (!existsSync(newer)) continue
    const folder = mkdtempSync(join(tmpdir(), 'glossa-v5-'))
    try {
      cpSync(fixture(`families/${name}`), folder, { recursive: true })
      cpSync(newer, join(folder, 'config.json'))
      expect(load(folder).spec, name).toEqual(load(fixture(`families/${name}`)).spec)
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
})

it('are listed in docs/families.md as they have been tested', () => {
  checkFamilies(columns, shown)
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
