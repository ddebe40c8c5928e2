/** The correction of running means against -expm1(t ln β) in float64. */
import { afterAll, expect, it } from 'vitest'
import { tensor } from '../array/index.ts'
import { Engine, nodeRuntime } from '../onnx/index.ts'
import { filled } from './correction.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const steps = [1, 2, 3, 5, 10, 17, 100, 333, 1000, 5000, 17_900, 18_100, 1e5, 2 ** 24]

it.each([0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.999999])('is 1 - %d^t to 4 units of f32', async (beta) => {
  const given = tensor(Float32Array.from(steps), [steps.length])
  const { data } = await engine.compute(filled(beta, given))
  const errors = steps.map((step, i) => {
    const exact = -Math.expm1(step * Math.log(beta))
    return Math.abs(Number(data[i]) - exact) / exact
  })
  expect(Math.max(...errors)).toBeLessThan(4 * 2 ** -24)
})
