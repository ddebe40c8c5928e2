/** Every optimizer against PyTorch in float64 (test/fixtures/optimizers.py), and what all of them must leave alone. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { allClose, fixture, readReference } from '../../../test/reference.ts'
import { tinyLlama } from '../../../test/tinyLlama.ts'
import { leaves, mapTree, type Tensor, tensor, zeros } from '../../array/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { initialize } from '../initialize.ts'
import { makeStep, trainingStep } from '../step.ts'
import {
  type AdafactorOptions,
  adafactor,
  makeOptimizer,
  muon,
  type OptimizerKind,
  type OptimizerRecipe,
  optimizers,
} from './index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

/** f32 against float64 in twenty steps, each of which rounds parameters of about 1 by 6e-8; a third of it is used. */
const tolerance = { atol: 2e-6, rtol: 8e-7 }

const folder = fixture('optimizers')
const reference = readReference(folder)
const recipes: Record<string, OptimizerRecipe> = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))

type Params = Record<string, Tensor>
const paths = [...reference.keys()].flatMap((name) =>
  name.startsWith('params.') ? [name.slice('params.'.length)] : [],
)
/** The tensors of a prefix; of the entry `step` along the first axis, if given. */
function treeAt(prefix: string, step?: number): Params {
  return Object.fromEntries(
    paths.map((path) => {
      const { shape, data } = reference.get(`${prefix}.${path}`)!
      const own = step === undefined ? shape : shape.slice(1)
      const size = own.reduce((a, b) => a * b, 1)
      const start = (step ?? 0) * size
      return [path, tensor((data as Float32Array).slice(start, start + size), own)]
    }),
  )
}
const rateOf = (value: number): Tensor => tensor([value], [])
const compile = ({ optimizer }: ReturnType<typeof makeOptimizer>) =>
  engine.jit((params: Params, grads: Params, state: unknown, rate: Tensor) =>
    optimizer.update(params, grads, state, rate),
  )

describe.each(Object.entries(recipes))('%s', (name, recipe) => {
  it('takes twenty steps as PyTorch does, as one program', async () => {
    const chosen = makeOptimizer({ ...recipe, rate: 1 })
    using update = compile(chosen)
    let params = treeAt('params')
    let state = chosen.optimizer.init(params)
    const rates = reference.get('rates')!.data
    for (let step = 0; step < rates.length; step++) {
      ;({ params, state } = await update(params, treeAt('grads', step), state, rateOf(rates[step]!)))
      const expected = treeAt(name, step)
      for (const path of paths)
        allClose(params[path]!.data as Float32Array, expected[path]!.data as Float32Array, {
          ...tolerance,
          name: `${path} after step ${step + 1}`,
        })
    }
    expect(update.compilations).toBe(1)
  })

  it('changes nothing at rate 0, and is moved by gradients at others', async () => {
    const chosen = makeOptimizer({ ...recipe, rate: 1 })
    using update = compile(chosen)
    const params = treeAt('params')
    const state = chosen.optimizer.init(params)
    const still = await update(params, treeAt('grads', 6), state, rateOf(0))
    for (const path of paths) expect(still.params[path]!.data, path).toEqual(params[path]!.data)
    const moved = await update(params, treeAt('grads', 6), state, rateOf(0.01))
    for (const path of paths) expect(moved.params[path]!.data, path).not.toEqual(params[path]!.data)
  })

  it('changes nothing without gradient and decay', async () => {
    const chosen = makeOptimizer({ ...recipe, rate: 1, weightDecay: 0 } as OptimizerRecipe)
    using update = compile(chosen)
    let params = treeAt('params')
    let state = chosen.optimizer.init(params)
    const none = mapTree(params, (leaf) => zeros(leaf.sizes)) as Params
    for (let i = 0; i < 2; i++) ({ params, state } = await update(params, none, state, rateOf(0.1)))
    for (const path of paths) expect(params[path]!.data, path).toEqual(treeAt('params')[path]!.data)
  })
})

describe('the table', () => {
  it('has a case for every kind', () => {
    expect(new Set(Object.values(recipes).map(({ kind }) => kind))).toEqual(new Set(Object.keys(optimizers)))
  })

  it('gives the rate of a recipe', () => {
    expect(makeOptimizer({ kind: 'muon', rate: 0.02 })).toMatchObject({ kind: 'muon', rate: 0.02 })
  })

  it.each([
    [{ kind: 'adam', rate: 1 }, "there is no kind 'adam'; there are: adafactor, adamw, lion, muon, sgd"],
    [{ kind: 'toString', rate: 1 }, "there is no kind 'toString'"],
    [{ rate: 1 }, "needs an object with a 'kind', one of: adafactor"],
    [{ kind: 'sgd' }, 'sgd: rate: '],
    [{ kind: 'sgd', rate: 1, beta1: 0.9 }, "sgd: there is no option 'beta1'; there are: momentum, nesterov"],
    [{ kind: 'adamw', rate: 1, beta1: 1 }, 'adamw: beta1: '],
    [{ kind: 'adamw', rate: 1, decays: 'norms' }, 'adamw: decays: '],
    [{ kind: 'muon', rate: 1, others: { beta3: 1 } }, 'muon: others: '],
    [{ kind: 'sgd', rate: 1, nesterov: true }, 'nesterov needs a momentum'],
    [{ kind: 'adafactor', rate: 1, warmupInit: true }, 'warmupInit needs relativeStep'],
  ])('refuses %j', (recipe, message) => {
    expect(() => makeOptimizer(recipe)).toThrow(message)
  })
})

describe('in a training step, where the state is written in place', () => {
  const { spec } = tinyLlama
  const kinds = Object.keys(optimizers) as OptimizerKind[]

  it.each(kinds)('%s gives the same numbers as elsewhere, and a smaller loss', async (kind) => {
    const momentum = kind === 'sgd' && { momentum: 0.9 }
    const { optimizer } = makeOptimizer({ kind, rate: 1, weightDecay: 0.1, ...momentum })
    using inPlace = trainingStep(engine, spec, optimizer)
    using copying = engine.jit(makeStep(spec, optimizer))
    const params = initialize(spec, { seed: 1 })
    const start = { params, state: optimizer.init(params) }
    let [own, other] = [start, start]
    const losses: number[] = []
    const tokens = tensor(
      Int32Array.from({ length: 40 }, (_, i) => (3 * Math.floor(i / 10) + (i % 10)) % 11),
      [4, 10],
    )
    for (let i = 0; i < 20; i++) {
      const result = await inPlace(own.params, own.state, tokens, rateOf(0.01))
      other = await copying(other.params, other.state, tokens, rateOf(0.01))
      own = result
      losses.push(result.loss.item())
    }
    expect(leaves(own.params).map(([, leaf]) => leaf.data)).toEqual(
      leaves(other.params).map(([, leaf]) => leaf.data),
    )
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.05)
  })
})

describe('adafactor', () => {
  const first = async (options: AdafactorOptions, params: Params, grads: Params): Promise<Params> => {
    const optimizer = adafactor(options)
    const update = optimizer.update(params, grads, optimizer.init(params), rateOf(0.01))
    return (await engine.compute(update)).params
  }

  it('moves each element by the rate where squares are a product, in matrices small and large', async () => {
    // Columns beyond the first of a large matrix repeat it, so that the sums stay short.
    for (const [rows, columns] of [
      [3, 2],
      [512, 512],
    ] as const) {
      const size = rows * columns
      const product = (i: number) => (1 + (Math.floor(i / columns) % 5)) * (((i % columns) % 3) - 1.5)
      const grads = {
        w: tensor(
          Float32Array.from({ length: size }, (_, i) => product(i)),
          [rows, columns],
        ),
      }
      const { w } = await first({}, { w: zeros([rows, columns]) }, grads)
      const wrong = [...w!.data].filter((v, i) => Math.abs(Number(v) + 0.01 * Math.sign(product(i))) > 1e-8)
      expect(wrong).toEqual([])
    }
  })

  it('takes small parameters for no smaller than epsilon2', async () => {
    const { b } = await first({ scaleParameter: true }, { b: tensor([1e-5, -1e-5]) }, { b: tensor([3, 4]) })
    // rate * 0.001 each; the squares of a first step are the gradient's own.
    expect([...b!.data].map((v, i) => Math.abs(Number(v) - (i ? -2e-5 : 0)) < 1e-11)).toEqual([true, true])
  })
})

describe('muon', () => {
  it('takes a choice of hidden matrices, and refuses what is none', () => {
    const params = treeAt('params')
    const state = muon({}, { hidden: (path) => path === 'head.weight' }).init(params)
    expect(Object.entries(state.momentum).map(([name, leaf]) => `${name} ${leaf}`)).toEqual([
      '5x4 f32[1, 5, 4]',
    ])
    expect(() => muon({}, { hidden: () => true }).init(params)).toThrow(
      "muon: 'blocks.0.ln1.weight' is f32[4]; only matrices",
    )
  })

  it('lets a program choose what decays', async () => {
    const optimizer = muon({ weightDecay: 0.5 }, { decays: (path) => /blocks.0.*(up|ln1)/.test(path) })
    const params = treeAt('params')
    const none = mapTree(params, (leaf) => zeros(leaf.sizes)) as Params
    const { params: next } = await engine.compute(
      optimizer.update(params, none, optimizer.init(params), rateOf(0.5)),
    )
    for (const path of paths) {
      const factor = path === 'blocks.0.mlp.up.weight' || path === 'blocks.0.ln1.weight' ? 0.75 : 1
      const before = params[path]!.data as Float32Array
      expect(next[path]!.data, path).toEqual(before.map((v) => v * factor))
    }
  })
})
