import { afterAll, expect, test } from 'vitest'
import {
  checkpoint,
  crossEntropy,
  gelu,
  interpret,
  layerNorm,
  random,
  type Tensor,
  tensor,
  trace,
  valueAndGrad,
  zeros,
  zipTrees,
} from '../../src/array/index.ts'
import type { NdArray } from '../../src/array/op.ts'
import { Engine, formatProfile, nodeRuntime, profile } from '../../src/onnx/index.ts'
import { toNd } from './support.ts'

const engine = new Engine(nodeRuntime({ threads: 2 }))
afterAll(() => engine.dispose())

const gaussian = random.gaussian(11)
const weights = (shape: [number, number]): Tensor =>
  tensor(
    Float32Array.from({ length: shape[0] * shape[1] }, () => gaussian() / Math.sqrt(shape[0])),
    shape,
  )
const [vocab, width, hidden, batch] = [7, 6, 10, 12]
const params = {
  embed: weights([vocab, width]),
  norm: { weight: tensor(new Float32Array(width).fill(1)), bias: zeros([width]) },
  layers: [
    { w: weights([width, hidden]), b: zeros([hidden]) },
    { w: weights([hidden, vocab]), b: zeros([vocab]) },
  ] as const,
}
type Params = typeof params
const tokens = tensor(Int32Array.from({ length: batch }, (_, i) => i % vocab))
const targets = tensor(Int32Array.from({ length: batch }, (_, i) => (3 * i + 1) % vocab))

const lossOf = (p: Params, x: Tensor, y: Tensor): Tensor => {
  const first = checkpoint((h: Tensor) => {
    const normal = layerNorm(h, p.norm.weight, p.norm.bias, 1e-5)
    return gelu(normal.matmul(p.layers[0].w).add(p.layers[0].b), 'tanh')
  })
  const logits = first(p.embed.gather(x)).matmul(p.layers[1].w).add(p.layers[1].b)
  return crossEntropy(logits, y).mean()
}
const rate = 0.5
const step = (p: Params, x: Tensor, y: Tensor): { loss: Tensor; params: Params } => {
  const [loss, grads] = valueAndGrad(lossOf)(p, x, y)
  const next = zipTrees<Params>([p, grads as Params], ([value, slope]) => value!.sub(slope!.mul(rate)))
  return { loss, params: next }
}
const axes = [undefined, ['n'], ['n']]

/** Fifty steps multiply the rounding of one (6e-8 of a loss of 2). */
const trainingTolerance = 2e-5

test('fifty steps in single precision follow those of the interpreter in double', async () => {
  const f = engine.jit(step, { axes, threads: 2 })
  const { graph } = trace(step, [params, tokens, targets], { axes })
  let state = params
  let exact: NdArray[] = graph.inputs.slice(0, -2).map(({ name }) => {
    const leaf = name
      .split('.')
      .slice(1)
      .reduce<unknown>((tree, key) => (tree as Record<string, unknown>)[key], params)
    return toNd(leaf as Tensor)
  })
  const losses: number[] = []
  for (let i = 0; i < 50; i++) {
    const result = await f(state, tokens, targets)
    const [loss, ...next] = interpret(graph, [...exact, toNd(tokens), toNd(targets)])
    expect(Math.abs(result.loss.item() - loss!.data[0]!)).toBeLessThan(trainingTolerance)
    losses.push(result.loss.item())
    state = result.params
    exact = next
  }
  expect(losses[0]).toBeGreaterThan(1.5)
  expect(losses.at(-1)).toBeLessThan(0.1)
  expect(f.compilations).toBe(1)
  f.dispose()
})

test('a profile counts the operators of a step', async () => {
  const sessions = engine.openSessions
  const rows = await profile(engine, step, [params, tokens, targets], { axes, runs: 3, warmup: 2 })
  expect(engine.openSessions).toBe(sessions)
  const products = rows.filter(({ operation }) => operation === 'matmul')
  // Forward 2, recomputed 1, backward 2 each.
  expect(products.reduce((sum, { calls }) => sum + calls, 0)).toBe(7)
  expect(rows.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 6)
  expect(rows.every(({ ms, calls }) => ms >= 0 && Number.isInteger(calls))).toBe(true)
  const times = rows.map(({ ms }) => ms)
  expect(times).toEqual(times.toSorted((a, b) => b - a))
})

test('a profile as a table', () => {
  const rows = [
    { op: 'FusedMatMul', operation: 'matmul', calls: 12, ms: 3.25, share: 0.8125 },
    { op: 'Mul', operation: 'mul', calls: 4, ms: 0.75, share: 0.1875 },
  ]
  expect(`\n${formatProfile(rows)}`).toMatchInlineSnapshot(`
    "
    op           operation  calls     ms   share
    FusedMatMul  matmul        12  3.250  81.3 %
    Mul          mul            4  0.750  18.8 %
    all                        16  4.000"
  `)
})

test('a profile of what does not run', async () => {
  await expect(profile(engine, (x: Tensor) => x.div(0), [tensor([1], [1], 'i32')])).rejects.toThrow(
    'division by zero',
  )
  await expect(profile(engine, (x: Tensor) => x, [tensor([1])], { runs: 0 })).rejects.toThrow(
    'runs must be positive',
  )
})
