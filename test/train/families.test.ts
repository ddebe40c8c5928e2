/** Every family of decoders can be trained from scratch: parameters of the right shapes, and a step that helps. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor } from '../../src/array/index.ts'
import { type DecoderSpec, kindOf, load, rotaryTables } from '../../src/model/index.ts'
import { parameterShapes } from '../../src/model/shapes.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { adamw, initialize, nextTokenLoss, trainingStep } from '../../src/train/index.ts'
import { fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const folders = [
  'gpt2-tiny',
  'llama-tiny',
  ...readdirSync(fixture('families')).map((name) => `families/${name}`),
]
const decoders = folders.filter(
  (name) => existsSync(join(fixture(name), 'config.json')) && kindOf(fixture(name)) === 'decoder',
)
const tokens = (): Tensor =>
  tensor(
    Int32Array.from({ length: 24 }, (_, i) => (i * i + 3 * i) % 13),
    [2, 12],
  )

it('finds the families', () => {
  expect(decoders.length).toBeGreaterThan(20)
})

describe.each(decoders)('%s', (name) => {
  const { spec, names, params: stored } = load(fixture(name))

  it('has the parameters of its checkpoint, drawn as asked', () => {
    const params = initialize(spec, { names, seed: 1, deviation: 0.1 })
    const shapesOf = (tree: unknown): string[] => leaves(tree).map(([path, leaf]) => `${path} ${leaf.sizes}`)
    expect(shapesOf(params)).toEqual(shapesOf(stored))
    expect(leaves(params)).toHaveLength(parameterShapes(spec, names).size)
    for (const [path, leaf] of leaves(params)) {
      const data = leaf.data as Float32Array
      if (isOwn(path)) {
        checkStateSpace(path, data, spec)
        continue
      }
      if (leaf.rank === 1) {
        const one = /(ln\w*|Norm)\.weight$/.test(path) && spec.norm.offset !== 1
        expect([...new Set(data)], path).toEqual([one ? 1 : 0])
        continue
      }
      const deviation = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)
      const expected = /(attn\.o|ssm\.output|\.down)\.weight$/.test(path)
        ? 0.1 / Math.sqrt(2 * spec.layers)
        : 0.1
      // Of n draws the deviation is known to one part in √(2n): five of those.
      expect(Math.abs(deviation / expected - 1), path).toBeLessThan(5 / Math.sqrt(2 * data.length))
    }
  })

  it('knows nothing at first, and more after a step', async () => {
    const optimizer = adamw()
    using step = trainingStep(engine, spec, optimizer)
    const params = initialize(spec, { names, seed: 2 })
    const rate = tensor([0.003], [])
    const first = await step(params, optimizer.init(params), tokens(), rate)
    const second = await step(first.params, first.state, tokens(), rate)
    expect(first.loss.item()).toBeCloseTo(Math.log(spec.vocab), 0)
    expect(second.loss.item()).toBeLessThan(first.loss.item())
  })

  it('has parameters without names too, with which it runs', async () => {
    const params = initialize(spec, { seed: 3 })
    const rotary = rotaryTables(spec)
    const loss = await engine.compute(nextTokenLoss(spec, params, tokens(), rotary))
    expect(loss.item()).toBeCloseTo(Math.log(spec.vocab), 0)
  })
})

it('takes names or options, not both', () => {
  const { spec, names } = load(fixture('llama-tiny'))
  expect(() => initialize(spec, { names, tied: true })).toThrow('the names say')
})

const isOwn = (path: string): boolean =>
  /\.ssm\.(conv\.weight|step\.weight|step\.bias|logDecay|skip)$/.test(path)

/** What of a state space is drawn in its own way (Gu and Dao 2023). */
function checkStateSpace(path: string, data: Float32Array, { stateSpace }: DecoderSpec): void {
  const { state, kernel, rank } = stateSpace!
  const list = [...data]
  if (path.endsWith('.skip')) expect(new Set(list)).toEqual(new Set([1]))
  else if (path.endsWith('.logDecay'))
    expect(list).toEqual(list.map((_, i) => Math.fround(Math.log(1 + (i % state)))))
  else if (path.endsWith('.step.bias')) {
    const steps = list.map((x) => Math.log1p(Math.exp(x)))
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(0.001 * 0.999)
    expect(Math.max(...steps)).toBeLessThanOrEqual(0.1 * 1.001)
    expect(new Set(list).size).toBe(list.length)
  } else {
    // Uniform between plus and minus the bound: a deviation of bound / sqrt(3), known to one part in sqrt(5 n / 4).
    const bound = 1 / Math.sqrt(path.endsWith('.conv.weight') ? kernel : rank)
    expect(Math.max(...list.map(Math.abs))).toBeLessThanOrEqual(bound)
    const deviation = Math.sqrt(list.reduce((sum, x) => sum + x * x, 0) / list.length)
    expect(Math.abs((deviation / bound) * Math.sqrt(3) - 1), path).toBeLessThan(
      5 / Math.sqrt(1.25 * list.length),
    )
  }
}
