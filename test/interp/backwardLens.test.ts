/** The backward lens against PyTorch's gradients (fixtures of reference.py), and its edits against closed forms. */
import { afterAll, describe, expect, it } from 'vitest'
import { grad, leaves, random, tensor } from '../../src/array/index.ts'
import { describeConfig } from '../../src/experiments/small.ts'
import {
  BackwardLens,
  forwardShift,
  gradientNorm,
  gradientOf,
  gradientStep,
  headRow,
  layerOf,
} from '../../src/interp/backwardLens.ts'
import { numericalRank } from '../../src/interp/rank.ts'
import { load, Model, rotaryTables, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { initialize, nextTokenLoss } from '../../src/train/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'
import { inside } from './inside.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

/** Gradients of the next-token loss by differentiating all parameters, with other code than the lens. */
async function gradientsOf(model: Model, row: number[]) {
  const rotary = rotaryTables(model.spec, model.positions)
  using step = engine.jit((params: typeof model.params) =>
    grad((p: typeof params) =>
      nextTokenLoss(model.spec, p, tensor(Int32Array.from(row), [1, row.length]), rotary),
    )(params),
  )
  return new Map(leaves(await step(model.params)))
}

const rowsOf = (name: string): { rows: number[][]; reference: ReturnType<typeof readReference> } => {
  const reference = readReference(fixture(name))
  const { data, shape } = reference.get('tokens')!
  const time = shape[1]!
  return {
    reference,
    rows: Array.from({ length: shape[0]! }, (_, i) => [...data.slice(i * time, (i + 1) * time)]),
  }
}
/** Next tokens as targets; the last position has none. */
const nextOf = (row: readonly number[]): number[] => [...row.slice(1), -1]

const pathsOf = (names: unknown): Map<string, string> => {
  const found = new Map<string, string>()
  const walk = (tree: unknown, path: string): void => {
    if (typeof tree === 'string') found.set(path, tree)
    else if (tree && typeof tree === 'object')
      for (const [key, child] of Object.entries(tree)) walk(child, path ? `${path}.${key}` : key)
  }
  walk(names, '')
  return found
}

describe.each(['gpt2-tiny', 'llama-tiny', 'llama-tiny-16'])('%s', (name) => {
  const { rows, reference } = rowsOf(name)
  const model = Model.open(fixture(name), engine)
  const names = pathsOf(load(fixture(name)).names)
  const lens = new BackwardLens(model)
  const { layout, layers } = model.spec

  it('factors multiply to the gradients that PyTorch gives', async () => {
    const passes = await Promise.all(rows.map((row) => lens.read(row, nextOf(row))))
    const loss = passes.reduce((sum, pass) => sum + pass.loss, 0) / passes.length
    expect(loss).toBeCloseTo(Number(reference.get('loss')!.data[0]), 4)
    const count = passes[0]!.factors.length
    expect(count).toBe(layers * (name === 'gpt2-tiny' ? 2 : 3))
    for (let i = 0; i < count; i++) {
      const { layer, matrix } = passes[0]!.factors[i]!
      const own = passes.map((pass) => gradientOf(pass.factors[i]!, layout))
      const mean = Float32Array.from(
        own[0]!.data as Float32Array,
        (value, j) => (value + Number(own[1]!.data[j])) / 2,
      )
      const key = `grad.${names.get(`blocks.${layer}.mlp.${matrix}.weight`)}`
      allClose({ shape: own[0]!.sizes, data: mean }, reference.get(key)!, {
        ...tolerance.gradient,
        name: key,
      })
    }
  })

  it('rank is at most the number of positions, and that of the positions whose targets count', async () => {
    const [row] = rows
    const tokens = row!.slice(0, 5)
    for (const [target, most] of [
      [7, 5],
      [[-1, 3, -1, -1, -1], 2],
    ] as const)
      for (const factors of (await lens.read(tokens, target)).factors) {
        const gradient = gradientOf(factors, layout)
        const [m, n] = gradient.sizes as [number, number]
        const rank = numericalRank(gradient.data as Float32Array, m, n)
        expect(rank).toBeGreaterThan(0)
        expect(rank).toBeLessThanOrEqual(most)
        expect(gradientNorm(factors)).toBeCloseTo(Math.hypot(...(gradient.data as Float32Array)), 5)
      }
  })

  it('in the last layer only the last position has a delta', async () => {
    const { factors } = await lens.read(rows[0]!, 7)
    const { deltas } = factors.at(-1)!
    const [time, width] = deltas.sizes as [number, number]
    expect([...deltas.data.slice(0, (time - 1) * width)].every((value) => value === 0)).toBe(true)
    expect(Math.hypot(...[...deltas.data.slice(-width)].map(Number))).toBeGreaterThan(0)
  })

  it('reads the shift as the target, which a small step makes likelier', async () => {
    const row = rows[0]!
    const pass = await lens.read(row, 7)
    const projections = await lens.project(pass, 7, 3)
    const [last] = projections.filter(
      ({ layer, side, position }) => layer === layers - 1 && side === 'shift' && position === row.length - 1,
    )
    // -δ of the last layer is the norm's pull-back of e(target) minus the mean of the predicted rows.
    expect(last!.rank).toBe(0)
    expect(last!.tokens[0]!.token).toBe(7)
    const after = await new BackwardLens(
      await model.adapted([gradientStep(pass.factors, 1e-3)]).merged(),
    ).read(row, 7)
    const squares = pass.factors.reduce((sum, one) => sum + gradientNorm(one) ** 2, 0)
    expect(after.loss - pass.loss).toBeLessThan(0)
    // First order: the loss falls by rate times the squared length of the gradient.
    expect((pass.loss - after.loss) / (1e-3 * squares)).toBeGreaterThan(0.9)
    expect((pass.loss - after.loss) / (1e-3 * squares)).toBeLessThan(1.05)
  })

  it('shifts one matrix by rate e(target) xᵀ, and nothing at strength 0', async () => {
    const row = rows[0]!
    const edit = await forwardShift(model, row, 7, { rate: 0.5, layer: 1 })
    const merged = await model.adapted([edit]).merged()
    const { 'blocks.1.mlp.hook_post': post } = await model.run([row], { read: ['blocks.1.mlp.hook_post'] })
    const hidden = model.spec.ffn!.hidden
    const x = (post!.data as Float32Array).slice(-hidden)
    const embedding = model.params.head?.weight ?? model.params.embed
    const { width } = model.spec
    const e = ((embedding as ReturnType<typeof tensor>).data as Float32Array).slice(7 * width, 8 * width)
    expect([...(await headRow(model, 7))]).toEqual([...e])
    const [before, after] = [new Map(leaves(model.params)), new Map(leaves(merged.params))]
    const changed = [...before].filter(([path, leaf]) => after.get(path) !== leaf).map(([path]) => path)
    expect(changed).toEqual(['blocks.1.mlp.down.weight'])
    const [old, fresh] = [before.get(changed[0]!)!, after.get(changed[0]!)!]
    const expected = Float32Array.from(old.data as Float32Array, (value, i) => {
      const columns = old.sizes[1]!
      const [r, c] = [Math.floor(i / columns), i % columns]
      return value + 0.5 * (layout === 'out-in' ? e[r]! * x[c]! : x[r]! * e[c]!)
    })
    allClose(fresh.data as Float32Array, expected, { atol: 1e-6, rtol: 1e-5 })
    const off = model.adapted([{ ...edit, strength: tensor([0], []) }])
    const [plain, none] = [await model.run([row]), await off.run([row])]
    expect([...none.logits!.data]).toEqual([...plain.logits!.data])
  })
})

describe.each(['gpt2-tiny', 'llama-tiny'] as const)('one target, %s', (name) => {
  const { row, backwardLens: expected } = inside[name]
  const model = Model.open(fixture(name), engine)

  it('deltas, their norms and the ranks of the target are those of PyTorch', async () => {
    using lens = new BackwardLens(model)
    const pass = await lens.read(row, inside.target)
    expect(pass.loss).toBeCloseTo(expected.loss, 4)
    const [first] = pass.factors.filter(({ matrix }) => matrix === 'down')
    const { width } = model.spec
    allClose((first!.deltas.data as Float32Array).slice(-width), expected.lastDelta, tolerance.gradient)
    const shifts = (await lens.project(pass, inside.target)).filter(({ side }) => side === 'shift')
    allClose(
      shifts.map(({ norm }) => norm),
      expected.norms.flat(),
      tolerance.gradient,
    )
    expect(shifts.map(({ rank }) => rank)).toEqual(expected.ranks.flat())
  })

  it('a shift changes the loss as it does there', async () => {
    const edit = await forwardShift(model, row, inside.target, {
      layer: inside.shiftLayer,
      rate: inside.rate,
    })
    for (const edited of [model.adapted([edit]), await model.adapted([edit]).merged()]) {
      const scores = await edited.score([[...row, inside.target]])
      expect(-Number(scores.data.at(-1))).toBeCloseTo(expected.shifted, 4)
    }
  })
})

/** Blocks with norms elsewhere and other inputs of the feed-forward part. */
const tiny = {
  vocab_size: 31,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
}
it.each([
  {
    ...tiny,
    model_type: 'gemma2',
    num_key_value_heads: 1,
    head_dim: 8,
    rms_norm_eps: 1e-6,
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: 8,
    sliding_window: 16,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
  },
  {
    ...tiny,
    model_type: 'gpt_neox',
    use_parallel_residual: true,
    rotary_pct: 0.25,
    layer_norm_eps: 1e-5,
    hidden_act: 'gelu',
    tie_word_embeddings: false,
  },
  {
    ...tiny,
    model_type: 'olmo2',
    num_key_value_heads: 2,
    rms_norm_eps: 1e-6,
    hidden_act: 'silu',
    tie_word_embeddings: false,
  },
  {
    ...tiny,
    model_type: 'phi',
    num_key_value_heads: 2,
    partial_rotary_factor: 0.5,
    layer_norm_eps: 1e-5,
    hidden_act: 'gelu_new',
    tie_word_embeddings: false,
  },
])('$model_type: factors multiply to the gradient of the whole model', async (config) => {
  const { spec, names } = describeConfig(config)
  const model = new Model({ engine, spec, params: initialize(spec, { seed: 3, names, deviation: 0.3 }) })
  using lens = new BackwardLens(model)
  const row = [3, 1, 4, 1, 5, 9]
  const { factors } = await lens.read(row, nextOf(row))
  const grads = await gradientsOf(model, row)
  for (const one of factors) {
    const key = `blocks.${one.layer}.mlp.${one.matrix}.weight`
    const { data, sizes } = grads.get(key)!
    expect(Math.hypot(...(data as Float32Array))).toBeGreaterThan(1e-4)
    const own = gradientOf(one, spec.layout)
    allClose(
      { data: own.data as Float32Array, shape: own.sizes },
      { data: data as Float32Array, shape: sizes },
      {
        atol: 1e-5,
        rtol: 1e-3,
        name: key,
      },
    )
  }
})

describe('what cannot be', () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  using lens = new BackwardLens(model)
  it('is refused by name', async () => {
    await expect(lens.read([1, 2], [3])).rejects.toThrow(/1 targets for 2 tokens/)
    await expect(lens.read([1, 2], 101)).rejects.toThrow(/tokens below 101/)
    await expect(lens.read([1, 2], [-1, -1])).rejects.toThrow(/at least one/)
    expect(() => layerOf(model.spec, 3)).toThrow(/layers 0 to 2/)
    await expect(forwardShift(model, [1], 101)).rejects.toThrow(/vocabulary has 101/)
    const edit = await forwardShift(model, [1], 5)
    expect(() => new BackwardLens(model.adapted([edit]))).toThrow(/merge the adapters/)
    expect(() => new BackwardLens(seal(model, { weights: 'int8' }))).toThrow(/quantised|sealed/)
  })
})

describe('numerical rank', () => {
  it('counts the independent columns of products', () => {
    const gaussian = random.gaussian(5)
    const drawn = (count: number): number[] => Array.from({ length: count }, gaussian)
    const product = (rank: number): Float64Array => {
      const [m, n] = [7, 9]
      const data = new Float64Array(m * n)
      for (let k = 0; k < rank; k++) {
        const [a, b] = [drawn(m), drawn(n)]
        for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) data[i * n + j]! += a[i]! * b[j]!
      }
      return data
    }
    for (const rank of [1, 2, 5, 7]) expect(numericalRank(product(rank), 7, 9)).toBe(rank)
    expect(numericalRank(new Float64Array(6), 2, 3)).toBe(0)
    expect(numericalRank([1, 0, 0, 1e-7], 2, 2)).toBe(1)
  })
})
