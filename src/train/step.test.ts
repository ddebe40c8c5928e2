/** The training step: one program that learns, for every size of batch, and owns its memory. */
import { afterAll, describe, expect, it } from 'vitest'
import { tinyLlama } from '../../test/tinyLlama.ts'
import { leaves, type Tensor, tensor } from '../array/index.ts'
import type { DecoderParams, DecoderSpec } from '../model/index.ts'
import { parameterShapes } from '../model/shapes.ts'
import type { DenseParams } from '../model/spec.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { adamw, initialize, trainingStep } from './index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const { spec, names } = tinyLlama
const counting = (batch: number, time: number): Tensor =>
  tensor(
    Int32Array.from({ length: batch * time }, (_, i) => (3 * Math.floor(i / time) + (i % time)) % 11),
    [batch, time],
  )
const rate = (value: number): Tensor => tensor([value], [])

describe('the training step', () => {
  it('learns to count, compiled once for all batches, lengths and rates', async () => {
    const optimizer = adamw()
    using step = trainingStep(engine, spec, optimizer)
    let params = initialize(spec, { seed: 1 })
    let state = optimizer.init(params)
    const losses: number[] = []
    for (let i = 0; i < 150; i++) {
      const result = await step(params, state, counting(1 + (i % 4), 4 + (i % 9)), rate(0.02 * 0.99 ** i))
      ;({ params, state } = result)
      losses.push(result.loss.item())
    }
    // A model that knows nothing is right once in eleven times.
    expect(losses[0]).toBeCloseTo(Math.log(11), 0)
    expect(losses.at(-1)).toBeLessThan(0.1)
    expect(step.compilations).toBe(1)
  })

  it('is the same every time', async () => {
    const run = async (): Promise<number[]> => {
      const optimizer = adamw({ weightDecay: 0.1 })
      using step = trainingStep(engine, spec, optimizer)
      let params = initialize(spec, { seed: 2 })
      let state = optimizer.init(params)
      for (let i = 0; i < 5; i++) ({ params, state } = await step(params, state, counting(2, 8), rate(0.01)))
      return leaves(params).flatMap(([, leaf]) => [...(leaf.data as Float32Array)])
    }
    expect(await run()).toEqual(await run())
  })

  it('takes the memory of what it is given: using that again is an error, not a wrong number', async () => {
    const optimizer = adamw()
    using step = trainingStep(engine, spec, optimizer)
    const first = initialize(spec, { seed: 3 })
    const one = await step(first, optimizer.init(first), counting(2, 8), rate(0.01))
    const two = await step(one.params, one.state, counting(2, 8), rate(0.01))
    await expect(step(one.params, one.state, counting(2, 8), rate(0.01))).rejects.toThrow(/disposed/)
    expect(() => one.params.embed instanceof Object && (one.params.embed as Tensor).data).toThrow(/disposed/)
    // What the caller has made stays the caller's.
    expect((first.embed as Tensor).data.length).toBe(11 * 16)
    expect(Number.isFinite(two.loss.item())).toBe(true)
  })

  it('refuses what has no loss, and says why', async () => {
    const optimizer = adamw()
    using step = trainingStep(engine, spec, optimizer)
    const params = initialize(spec)
    const run = (tokens: Tensor) => step(params, optimizer.init(params), tokens, rate(0.01))
    await expect(run(counting(3, 1))).rejects.toThrow('at least two tokens, [batch, T]; got i32[3, 1]')
    await expect(run(tensor(new Int32Array(4)))).rejects.toThrow('at least two tokens')
    await expect(run(tensor(new Int32Array(0), [0, 4]))).rejects.toThrow('at least two tokens')
    await expect(run(tensor(Int32Array.of(1, -1, 2), [1, 3]))).rejects.toThrow('token -1 is outside')
    await expect(run(tensor(Int32Array.of(1, 11, 2), [1, 3]))).rejects.toThrow('outside the vocabulary of 11')
    // The context is 12, and the last token is only asked for.
    await expect(run(counting(1, 14))).rejects.toThrow('outside [12, 4]')
    expect(Number.isFinite((await run(counting(1, 13))).loss.item())).toBe(true)
  })
})

describe('initialize', () => {
  const gpt: DecoderSpec = {
    ...spec,
    norm: { kind: 'layer', epsilon: 1e-5 },
    position: { kind: 'learned' },
    ffn: { kind: 'plain', hidden: 24, activation: 'gelu-tanh' },
    layout: 'in-out',
  }
  const shapesOf = (params: DecoderParams): string[] =>
    leaves(params).map(([path, leaf]) => `${path} ${leaf.sizes}`)

  it('makes the parameters that a checkpoint of this shape has', () => {
    const params = initialize(spec)
    const expected = [...parameterShapes(spec, names).values()].map(String).sort()
    expect(
      leaves(params)
        .map(([, leaf]) => `${leaf.sizes}`)
        .sort(),
    ).toEqual(expected)
  })

  it('gives biases, positions and a head where they are wanted', () => {
    const shapes = shapesOf(initialize(gpt, { tied: false }))
    expect(shapes).toContain('positions 12,16')
    expect(shapes).toContain('head.weight 11,16')
    expect(shapes).toContain('blocks.1.attn.k.weight 16,8')
    expect(shapes).toContain('blocks.1.attn.k.bias 8')
    expect(shapes).toContain('lnFinal.bias 16')
    expect(shapesOf(initialize(spec)).some((text) => /bias|head|positions|mlp\.gate\.bias/.test(text))).toBe(
      false,
    )
  })

  it('depends on the seed alone, with the deviations asked for', () => {
    const wide = { ...spec, vocab: 400, width: 64 }
    const [a, b, c] = [1, 1, 2].map((seed) => initialize(wide, { seed, deviation: 0.05 }))
    const data = (params: DecoderParams): Float32Array => (params.embed as Tensor).data as Float32Array
    expect(data(a!)).toEqual(data(b!))
    expect(data(a!)).not.toEqual(data(c!))
    const deviation = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length)
    expect(deviation(data(a!))).toBeCloseTo(0.05, 3)
    const { down } = a!.blocks[0]!.mlp as DenseParams
    const weight = down.weight as Tensor
    expect(deviation(weight.data as Float32Array)).toBeCloseTo(0.05 / 2, 2)
  })
})
