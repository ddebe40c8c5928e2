/** Decoders whose layers have a state instead of keys and values: what differs from attention around them. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor } from '../../src/array/index.ts'
import { beamSearch, complete, scoreBatch, scoreStepwise, scoreTokens } from '../../src/decode/index.ts'
import { convertToGguf } from '../../src/model/convert/toGguf.ts'
import {
  type DecoderSpec,
  exportModel,
  load,
  Model,
  type StateCache,
  seal,
  sites,
  weightBill,
} from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { writeSafetensors } from '../../src/store/index.ts'
import { adamw, initialize, trainingStep } from '../../src/train/index.ts'
import { allClose, fixture, readReference } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const folder = fixture('families/mamba')
const model = Model.open(folder, engine)
const { vocab } = model.spec
const ints = (values: readonly number[]): Tensor => tensor(Int32Array.from(values))
const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17) % vocab)
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
/** Cached and uncached passes sum in different orders. */
const rounding = { rtol: 1e-4, atol: 5e-5 }
const temporary = mkdtempSync(join(tmpdir(), 'glossa-state-'))
afterAll(() => rmSync(temporary, { recursive: true }))

describe('the state', () => {
  const sizes = ({ conv, state }: StateCache) => [conv.sizes, state.sizes]

  it('has the same size however long a text is, and no end', async () => {
    const [short, long] = [model.newCache(2, 1), model.newCache(2, 1e6)]
    expect(short.map((layer) => sizes(layer as StateCache))).toEqual(
      long.map((layer) => sizes(layer as StateCache)),
    )
    expect(sizes(short[0] as StateCache)).toEqual([
      [2, 3, 32],
      [2, 32, 6],
    ])
    expect(model.context).toBe(Number.POSITIVE_INFINITY)
    const [text] = await complete(model, [row(3)], { temperature: 0, maxTokens: 80, stopTokens: [] })
    const whole = await scoreTokens(model, [...text!.promptTokens, ...text!.tokens])
    expect(whole).toHaveLength(82)
  })

  it('is that of the row alone, whatever pads it', async () => {
    const rows = [row(7, 1), row(2, 2), row(1, 3)]
    const width = 9
    // Padding of another token, and more of it than the longest row has.
    const padded = rows.map((own) => [...own, ...new Array<number>(width - own.length).fill(50)])
    const step = (tokens: number[][], at: number[]) =>
      model.step({
        tokens: model.rows(tokens),
        cache: model.newCache(tokens.length, width),
        lengths: ints(at.map(() => 0)),
        at: ints(at),
      })
    const together = await step(
      padded,
      rows.map((own) => own.length - 1),
    )
    for (const [i, own] of rows.entries()) {
      const alone = await step([own], [own.length - 1])
      alone.cache.forEach((layer, l) => {
        for (const part of ['conv', 'state'] as const) {
          const all = floats((together.cache[l] as StateCache)[part])
          const expected = floats((layer as StateCache)[part])
          const size = expected.length
          allClose(all.subarray(i * size, (i + 1) * size), expected, {
            ...rounding,
            name: `row ${i} ${part} ${l}`,
          })
        }
      })
    }
  })

  it('follows the beams when they change places', async () => {
    const prompt = row(5)
    const beams = await beamSearch(model, prompt, { beams: 4, maxTokens: 10, lengthPenalty: 0 })
    expect(new Set(beams.map(({ tokens }) => tokens.join())).size).toBe(4)
    for (const { tokens, logprob } of beams) {
      const scores = await scoreTokens(model, [...prompt, ...tokens])
      const own = scores.slice(prompt.length - 1).reduce((a, b) => a + b, 0)
      expect(logprob).toBeCloseTo(own, 3)
    }
  })

  it('gives the scores of a whole pass, token by token and in a padded batch', async () => {
    const rows = [row(12, 1), row(5, 2), row(9, 3)]
    const batch = await scoreBatch(model, rows)
    for (const [i, own] of rows.entries()) {
      const whole = await scoreTokens(model, own)
      allClose(batch[i]!, whole, { ...rounding, name: `row ${i} in a batch` })
      allClose(await scoreStepwise(model, own), whole, { ...rounding, name: `row ${i} stepwise` })
    }
  })
})

describe('outside', () => {
  it('generates in plain ONNX Runtime, a padded batch with its states', async () => {
    const path = join(temporary, 'cache.onnx')
    const { inputs, outputs } = exportModel(model, path, { cache: 'room' })
    expect(inputs.map(({ name }) => name)).toContain('past.1.state')
    expect(outputs.map(({ name }) => name)).toContain('present.0.conv')
    const session = await InferenceSession.create(path)
    const prompts = [row(6, 1), row(2, 2)]
    const expected = await complete(model, prompts, { temperature: 0, maxTokens: 6, stopTokens: [] })
    const long = (values: number[], shape: number[]) =>
      new OrtTensor('int64', BigInt64Array.from(values, BigInt), shape)
    let state: Record<string, OrtTensor> = {}
    for (const [i, layer] of model.newCache(2, 1).entries())
      for (const [part, x] of Object.entries(layer as StateCache))
        state[`past.${i}.${part}`] = new OrtTensor('float32', floats(x), x.sizes)
    let fresh = prompts
    const made: number[][] = [[], []]
    for (let n = 0; n < 6; n++) {
      const width = Math.max(...fresh.map((own) => own.length))
      const padded = fresh.flatMap((own) => [...own, ...new Array<number>(width - own.length).fill(0)])
      const feeds = {
        input_ids: long(padded, [2, width]),
        at: long(
          fresh.map((own) => own.length - 1),
          [2],
        ),
        ...state,
      }
      // A model without positions does not ask for lengths.
      const wanted = Object.fromEntries(
        Object.entries(feeds).filter(([name]) => session.inputNames.includes(name)),
      )
      const results = await session.run(wanted)
      const logits = results.logits!.data as Float32Array
      fresh = made.map((own, b) => {
        const mine = logits.subarray(b * vocab, (b + 1) * vocab)
        own.push(mine.indexOf(Math.max(...mine)))
        return own.slice(-1)
      })
      state = Object.fromEntries(
        Object.entries(results).flatMap(([name, x]) =>
          name.startsWith('present') ? [[name.replace('present', 'past'), x]] : [],
        ),
      ) as Record<string, OrtTensor>
    }
    expect(made).toEqual(expected.map(({ tokens }) => tokens))
  })

  it('rounds the large matrices and says which stay as they are', () => {
    using sealed = seal(model, { weights: 'int4', block: 16 })
    const { kept } = weightBill(sealed)
    expect(kept.filter((path) => path.startsWith('blocks.0'))).toEqual([
      'blocks.0.ssm.select.weight',
      'blocks.0.ssm.step.weight',
    ])
  })

  it('trains', async () => {
    const tokens = readReference(folder).get('tokens')!
    const optimizer = adamw()
    const step = trainingStep(engine, model.spec, optimizer)
    let { params } = load(folder)
    let state = optimizer.init(params)
    const losses: number[] = []
    for (let i = 0; i < 20; i++) {
      const result = await step(
        params,
        state,
        tensor(tokens.data as Int32Array, tokens.shape),
        tensor([3e-3], []),
      )
      ;({ params, state } = result)
      losses.push(result.loss.item())
    }
    expect(losses[0]).toBeCloseTo(readReference(folder).get('loss')!.data[0]!, 4)
    expect(losses.at(-1)!).toBeLessThan(0.5 * losses[0]!)
    step.dispose()
  })

  it('is refused by name where it is not known yet', () => {
    expect(() => convertToGguf(folder, join(temporary, 'x.gguf'), 'f32')).toThrow(
      /there is no way to convert|of mamba|'mamba'|mamba/,
    )
  })
})

it('begins as Mamba does', () => {
  const { inner, state } = model.spec.stateSpace!
  const [{ ssm }] = initialize(model.spec, { seed: 3 }).blocks as [
    ReturnType<typeof load>['params']['blocks'][number],
  ]
  const steps = floats(ssm!.step.bias).map((x) => Math.log1p(Math.exp(x)))
  expect(Math.min(...steps)).toBeGreaterThan(0.00099)
  expect(Math.max(...steps)).toBeLessThan(0.101)
  // Evenly in the logarithm: the median of 32 is near 0.01.
  const median = steps.sort()[inner / 2]!
  expect(median).toBeGreaterThan(0.004)
  expect(median).toBeLessThan(0.025)
  const decays = floats(ssm!.logDecay).map((x) => Math.exp(x))
  allClose([...decays.subarray(0, state)], [1, 2, 3, 4, 5, 6], { rtol: 1e-6, atol: 0 })
  expect(ssm!.conv.weight.sizes).toEqual(load(folder).params.blocks[0]!.ssm!.conv.weight.sizes)
})

describe('layers of both kinds', () => {
  const both: DecoderSpec = {
    ...model.spec,
    layers: 3,
    mixers: ['stateSpace', 'attention', 'stateSpace'],
    attention: { heads: 2, keyValueHeads: 1, headSize: 8 },
    ffn: { kind: 'gated', hidden: 24, activation: 'silu' },
    context: 64,
  }
  const mixed = new Model({ engine, spec: both, params: initialize(both, { deviation: 0.3, tied: false }) })

  it('have their own sites and caches', async () => {
    const known = [...sites(both).keys()]
    expect(known).toContain('blocks.1.attn.hook_pattern')
    expect(known).toContain('blocks.2.mlp.hook_post')
    expect(known).not.toContain('blocks.1.ssm.hook_h')
    expect(known).not.toContain('blocks.0.attn.hook_pattern')
    const read = await mixed.run([row(5)], { read: known })
    expect(Object.keys(read).sort()).toEqual(known.sort())
    expect(mixed.newCache(1, 9).map((layer) => Object.keys(layer))).toEqual([
      ['conv', 'state'],
      ['keys', 'values'],
      ['conv', 'state'],
    ])
  })

  it('give through the cache what they give without, in padded batches too', async () => {
    const rows = [row(11, 1), row(4, 2), row(8, 3)]
    const texts = await complete(mixed, rows, { temperature: 0, maxTokens: 6, stopTokens: [] })
    for (const [i, { tokens }] of texts.entries()) {
      const { logits } = await mixed.run([[...rows[i]!, ...tokens]])
      const best = tokens.map((_, k) => {
        const at = (rows[i]!.length - 1 + k) * vocab
        const own = floats(logits).subarray(at, at + vocab)
        return own.indexOf(Math.max(...own))
      })
      expect([...tokens], `row ${i}`).toEqual(best)
    }
    expect(new Set(texts.flatMap(({ tokens }) => tokens)).size).toBeGreaterThan(6)
  })

  it('are refused where nobody says which is which', () => {
    expect(() => sites({ ...both, mixers: undefined })).toThrow(/mixers does not say which layer 0 has/)
  })
})

describe('the configuration', () => {
  const original = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>
  const withConfig = (change: Record<string, unknown>): string => {
    const path = mkdtempSync(join(temporary, 'model-'))
    cpSync(folder, path, { recursive: true })
    writeFileSync(join(path, 'config.json'), JSON.stringify({ ...original, ...change }))
    return path
  }

  it.each([
    ['unknown keys', { dt_softplus: false }, /unknown keys 'dt_softplus'/],
    ['another kind of layer', { ssm_cfg: { layer: 'Mamba2' } }, /unknown keys 'layer'/],
    ['layer norms', { rms_norm: false }, /'rms_norm'/],
    [
      'sizes that contradict each other',
      { d_inner: 48 },
      /d_inner is 48, but the size that it repeats is 32/,
    ],
    ['an activation that is not known', { hidden_act: 'mish' }, /'hidden_act'/],
    ['sizes that the weights do not have', { state_size: 8 }, /A_log' is \[32, 6\], not \[32, 8\]/],
    ['a kernel that sees no token before', { conv_kernel: 1 }, /'conv_kernel'/],
  ])('refuses %s', (_, change, message) => {
    expect(() => load(withConfig(change))).toThrow(message)
  })

  it('takes defaults from Hugging Face, and sizes from each other', () => {
    const { expand, intermediate_size, d_inner, time_step_rank, use_bias, ...rest } = original
    const path = withConfig({})
    writeFileSync(join(path, 'config.json'), JSON.stringify({ ...rest, time_step_rank: 3 }))
    expect(load(path).spec).toEqual(model.spec)
  })

  it('reads the names of the first conversions, and passes over the copy of a tied head', () => {
    const path = withConfig({})
    const tensors = [...readReference(folder, 'model.safetensors')].map(([name, { shape, data }]) => ({
      name: name.replace('embeddings', 'embedding'),
      dtype: 'f32' as const,
      shape,
      data: () => new Uint8Array(data.buffer),
    }))
    const embedding = tensors.find(({ name }) => name === 'backbone.embedding.weight')!
    writeSafetensors(join(path, 'model.safetensors'), [...tensors, { ...embedding, name: 'lm_head.weight' }])
    const own = load(path)
    expect(own.names.embed).toBe('backbone.embedding.weight')
    expect([...floats(own.params.embed as Tensor)]).toEqual([...floats(model.params.embed as Tensor)])
  })
})
