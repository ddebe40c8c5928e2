/** AdamW against its formula, written as a plain loop in float64. */
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor, tensor } from '../../array/index.ts'
import { Engine, nodeRuntime } from '../../onnx/index.ts'
import { type AdamWOptions, adamw } from './adamw.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

interface Params {
  readonly matrix: Tensor
  readonly norm: { readonly weight: Tensor }
  readonly bias: Tensor
}
/** One leaf above the size up to which leaves are joined, two below. */
const sizes = { matrix: [130, 128], weight: [7], bias: [3, 2] } as const
const filled = (shape: readonly number[], next: () => number): Tensor =>
  tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next), shape)
const treeOf = (next: () => number): Params => ({
  matrix: filled(sizes.matrix, next),
  norm: { weight: filled(sizes.weight, next) },
  bias: filled(sizes.bias, next),
})
const flat = ({ matrix, norm, bias }: Params): number[] =>
  [matrix, norm.weight, bias].flatMap((leaf) => [...(leaf.data as Float32Array)])

/** The update as Loshchilov and Hutter write it; eps is added to the root of the corrected mean. */
function exact(options: AdamWOptions) {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 } = options
  // By default the one vector does not decay.
  const norm = 130 * 128
  const decay = (i: number): number =>
    options.decays === 'all' || i < norm || i >= norm + 7 ? weightDecay : 0
  const [m, v]: [number[], number[]] = [[], []]
  let t = 0
  return (params: number[], grads: readonly number[], rate: number): void => {
    t++
    grads.forEach((g, i) => {
      m[i] = beta1 * (m[i] ?? 0) + (1 - beta1) * g
      v[i] = beta2 * (v[i] ?? 0) + (1 - beta2) * g * g
      const step = m[i]! / (1 - beta1 ** t) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + epsilon)
      params[i] = params[i]! - rate * (step + decay(i) * params[i]!)
    })
  }
}

describe('adamw', () => {
  it.each<[string, AdamWOptions]>([
    ['the defaults', {}],
    ['weight decay', { weightDecay: 0.1 }],
    ['weight decay on every parameter', { weightDecay: 0.1, decays: 'all' }],
    ['other betas', { beta1: 0.5, beta2: 0.95 }],
    ['a large epsilon', { epsilon: 0.1, weightDecay: 0.01 }],
  ])('follows the formula for 20 steps: %s', async (_, options) => {
    const optimizer = adamw(options)
    using update = engine.jit(
      (p: Params, g: Params, s: ReturnType<typeof optimizer.init<Params>>, rate: Tensor) =>
        optimizer.update(p, g, s, rate),
    )
    const gaussian = random.gaussian(3)
    let params = treeOf(() => gaussian())
    let state = optimizer.init(params)
    const expected = flat(params)
    const reference = exact(options)
    for (let i = 0; i < 20; i++) {
      // Gradients of very different sizes, and some of exactly zero.
      const scale = 10 ** ((i % 7) - 5)
      const grads = treeOf(() => (gaussian() > 1 ? 0 : scale * gaussian()))
      const rate = 0.01 * (1 + (i % 3))
      ;({ params, state } = await update(params, grads, state, tensor([rate], [])))
      reference(expected, flat(grads), rate)
    }
    // Twenty roundings of parameters up to about 4.
    const worst = flat(params).reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i]!)), 0)
    expect(worst).toBeLessThan(2e-5)
    expect(state.step.item()).toBe(20)
    // Neither the step nor the rate is part of the program.
    expect(update.compilations).toBe(1)
  })

  it('does nothing at rate 0, to parameters without gradient, and to the parameters given', async () => {
    const optimizer = adamw({ weightDecay: 0.1 })
    const gaussian = random.gaussian(4)
    const params = treeOf(() => gaussian())
    const before = flat(params)
    const still = optimizer.update(
      params,
      treeOf(() => gaussian()),
      optimizer.init(params),
      tensor([0], []),
    )
    expect(flat((await engine.compute(still)).params)).toEqual(before)
    const plain = adamw()
    const moved = plain.update(
      params,
      treeOf(() => 0),
      plain.init(params),
      tensor([1], []),
    )
    expect(flat((await engine.compute(moved)).params)).toEqual(before)
    expect(flat(params)).toEqual(before)
  })
})
