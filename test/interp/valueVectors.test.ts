/** Value vectors against PyTorch, and against a feed-forward part whose value vectors are known. */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { describeConfig, smallConfig } from '../../src/experiments/small.ts'
import method, { conceptTokens, turnOn, ValueVectors } from '../../src/interp/valueVectors.ts'
import { Model, type TapOptions } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { initialize } from '../../src/train/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'
import { inside } from './inside.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['gpt2-tiny', 'llama-tiny'] as const)('%s', (name) => {
  const { row, valueVectors: expected } = inside[name]
  const model = Model.open(fixture(name), engine)
  const values = new ValueVectors(model, inside.count)

  it('gives the predictions and dominant sub-updates that PyTorch gives', async () => {
    const reading = await values.read([row])
    const { layers } = model.spec
    expect(reading.predictions.sizes).toEqual([layers, 1, row.length])
    for (const key of ['predictions', 'before', 'ranksAfter', 'dominant'] as const)
      expect([...reading[key].data], key).toEqual(expected[key].flat(2))
    allClose(reading.coefficients.data as Float32Array, expected.coefficients.flat(2), tolerance.f32)
  })

  it('reads value vectors as tokens', async () => {
    allClose(await values.affinity(1, inside.concept), expected.affinity, tolerance.f32)
    const tokens = async (sign: 1 | -1) =>
      (await values.promoted({ layer: 1, index: 5, sign }, 4)).map(({ token }) => token)
    expect(await tokens(1)).toEqual(expected.promoted)
    expect(await tokens(-1)).toEqual(expected.opposite)
    const gated = model.spec.ffn!.kind === 'gated'
    const best = expected.affinity
      .map((score, index) => ({ index, score: gated ? Math.abs(score) : score }))
      .sort((a, b) => b.score - a.score)[0]!
    const [first] = await values.promoting(inside.concept, 3, [1])
    expect(first!.index).toBe(best.index)
    expect(first!.sign).toBe(expected.affinity[best.index]! < 0 ? -1 : 1)
  })

  it('sub-updates add up to what the layer writes', async () => {
    const { 'blocks.1.mlp.hook_post': m, 'blocks.1.hook_mlp_out': out } = await model.run([row], {
      read: ['blocks.1.mlp.hook_post', 'blocks.1.hook_mlp_out'],
    })
    const v = await values.vectors(1)
    const [hidden, width] = v.sizes as [number, number]
    const bias = (model.params.blocks[1]!.mlp as { down: { bias?: Tensor } }).down.bias
    const sum = Float64Array.from({ length: width }, (_, j) => Number(bias?.data[j] ?? 0))
    const last = row.length - 1
    for (let i = 0; i < hidden; i++)
      for (let j = 0; j < width; j++)
        sum[j]! += Number(m!.data[last * hidden + i]) * Number(v.data[i * width + j])
    allClose((out!.data as Float32Array).slice(-width), sum, tolerance.f32)
  })
})

/** One layer that reads nothing: what is planted in its last matrix is all that it can write. */
const vocab = 64
const planted = (): Model => {
  const { spec, names } = describeConfig(
    smallConfig(vocab, {
      num_hidden_layers: 2,
      hidden_size: 64,
      num_attention_heads: 4,
      intermediate_size: 24,
    }),
  )
  const params = initialize(spec, { seed: 1, names })
  // Tokens are the axes of the residual stream; value vector 3 of layer 1 is -(tokens 5 and 6), and 4 is token 9.
  const embed = new Float32Array(vocab * 64)
  for (let i = 0; i < vocab; i++) embed[i * 64 + i] = 1
  const { down: own } = params.blocks[1]!.mlp as { down: { weight: Tensor } }
  const down = Float32Array.from(own.weight.data as Float32Array)
  for (let j = 0; j < 64; j++) {
    down[j * 24 + 3] = j === 5 || j === 6 ? -1 : 0
    down[j * 24 + 4] = j === 9 ? 1 : 0
  }
  const blocks = params.blocks.map((block, layer) =>
    layer === 1 ? { ...block, mlp: { ...block.mlp, down: { weight: tensor(down, [64, 24]) } } } : block,
  )
  return new Model({
    ...{
      engine,
      spec,
      params: { ...params, embed: tensor(embed, [vocab, 64]), blocks: blocks as typeof params.blocks },
    },
  })
}

describe('planted value vectors', () => {
  const model = planted()
  const values = new ValueVectors(model)

  it('are found, with their sign', async () => {
    expect(await values.promoting([5, 6], 1)).toMatchObject([{ layer: 1, index: 3, sign: -1 }])
    expect(await values.promoting([9], 1)).toMatchObject([{ layer: 1, index: 4, sign: 1 }])
    const top = await values.promoted({ layer: 1, index: 3, sign: -1 }, 2)
    expect(top.map(({ token, score }) => [token, score])).toEqual([
      [5, 1],
      [6, 1],
    ])
  })

  it('turned on, make their tokens likelier, in step with the coefficient and the strength', async () => {
    const logits = async (edit: TapOptions['edit'] = {}): Promise<number[]> => {
      const read = await model.run([[1, 2, 3]], { read: ['blocks.1.hook_resid_post'], edit })
      return [...(read['blocks.1.hook_resid_post']!.data as Float32Array).slice(-64)]
    }
    const plain = await logits()
    const chosen = await values.promoting([5, 6], 1)
    const on = await logits(turnOn(model.spec, chosen, 3))
    // The stream rises by 3 along tokens 5 and 6, less what the vector had written anyway, and nowhere else.
    const had = on[5]! - plain[5]!
    expect(had).toBeCloseTo(3, 1)
    for (const [j, value] of on.entries())
      expect(value - plain[j]!).toBeCloseTo(j === 5 || j === 6 ? had : 0, 5)
    const half = await logits(turnOn(model.spec, chosen, 3, 0.5))
    expect(half[5]! - plain[5]!).toBeCloseTo(had / 2, 5)
    expect(await logits(turnOn(model.spec, chosen, 3, 0))).toEqual(plain)
  })

  it('hold in generation through the cache', async () => {
    const edit = turnOn(model.spec, await values.promoting([5, 6], 1), 40)
    const [text] = await complete(model, [[1, 2]], { temperature: 0, maxTokens: 4, stopTokens: [] }, { edit })
    expect(text!.tokens.every((token) => token === 5 || token === 6)).toBe(true)
  })
})

it('as a method, makes its words likelier in a trained model', async () => {
  const model = Model.open(fileURLToPath(new URL('../../models/starter', import.meta.url)), engine)
  const tokens = conceptTokens(model.tokenizer!, ['happy'])
  const { ids } = model.tokenizer!.encode('The boy was very')
  const logs = async (edit: TapOptions['edit'] = {}) =>
    Number((await model.score([[...ids, ...tokens]], { edit })).data.at(-1))
  const made = async (options: object) =>
    method.make(method.options.parse({ words: ['happy'], ...options }))(model)
  expect(await logs(await made({ strength: 0 }))).toBe(await logs())
  expect(await logs(await made({ count: 5, coefficient: 2 }))).toBeGreaterThan(0.5 + (await logs()))
  expect(() => conceptTokens(model.tokenizer!, ['extraordinarily'])).toThrow(
    /' extraordinarily' is \d+ tokens/,
  )
})

describe('what cannot be', () => {
  it('is refused by name', async () => {
    const tiny = {
      vocab_size: 31,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 32,
    }
    const { spec, names } = describeConfig({
      ...tiny,
      model_type: 'olmo2',
      num_key_value_heads: 2,
      rms_norm_eps: 1e-6,
      hidden_act: 'silu',
      tie_word_embeddings: false,
    })
    const model = new Model({ engine, spec, params: initialize(spec, { seed: 3, names }) })
    expect(() => new ValueVectors(model)).toThrow(/norm follows the feed-forward part/)
    const llama = Model.open(fixture('llama-tiny'), engine)
    using values = new ValueVectors(llama)
    await expect(values.promoted({ layer: 0, index: 88, sign: 1 })).rejects.toThrow(/a layer has 88/)
    await expect(values.promoting([], 3)).rejects.toThrow(/at least one token/)
    expect(() => turnOn(llama.spec, [{ layer: 0, index: 88, sign: 1 }], 3)).toThrow(/a layer has 88/)
  })
})
