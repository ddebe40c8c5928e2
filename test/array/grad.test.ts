import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession } from 'onnxruntime-node'
import { PbfReader } from 'pbf'
import { afterAll, describe, expect, test } from 'vitest'
import {
  backpropagate,
  checkpoint,
  customGradient,
  type Graph,
  gelu,
  grad,
  interpret,
  rmsNorm,
  scalar,
  type Tensor,
  tensor,
  trace,
  valueAndGrad,
  vjp,
} from '../../src/array/index.ts'
import { Engine, nodeRuntime, profile } from '../../src/onnx/index.ts'
import { lower } from '../../src/onnx/lower.ts'
import { encodeModel } from '../../src/onnx/proto.ts'
import { expectClose, f32GradTolerance, floats, integers, toNd } from './support.ts'

const engine = new Engine(nodeRuntime({ threads: 2 }))
afterAll(() => engine.dispose())

const numbers = async (x: Tensor): Promise<number[]> => [...toNd(await engine.compute(x)).data]

describe('grad', () => {
  test('trees of parameters, with a value and extra results', async () => {
    const params = {
      layers: [{ w: tensor([1, 2]) }, { w: tensor([3, 4]) }],
      bias: tensor([5], []),
      none: undefined,
    }
    const f = engine.jit((p: typeof params, x: Tensor) => {
      const [value, grads] = valueAndGrad((q: typeof params, y: Tensor): [Tensor, { hidden: Tensor }] => {
        const hidden = q.layers[0]!.w.mul(q.layers[1]!.w).mul(y)
        return [hidden.sum().add(q.bias), { hidden }]
      })(p, x)
      return { value, grads }
    })
    const { value, grads } = await f(params, tensor([1, -1]))
    expect(value[0].item()).toBe(0)
    expect([...(value[1].hidden.data as Float32Array)]).toEqual([3, -8])
    expect([...(grads.layers[0]!.w.data as Float32Array)]).toEqual([3, -4])
    expect([...(grads.layers[1]!.w.data as Float32Array)]).toEqual([1, -2])
    expect(grads.bias.item()).toBe(1)
    expect(grads.none).toBeUndefined()
    f.dispose()
  })
  test('a parameter that the loss does not use has gradient 0', async () => {
    const g = grad((p: { a: Tensor; b: Tensor }) => p.a.sum())({ a: tensor([1]), b: tensor([1, 2]) })
    expect(await numbers(g.b)).toEqual([0, 0])
  })
  test('the same tensor twice in the tree is two parameters', async () => {
    const x = tensor([3])
    const [a, b] = grad((p: [Tensor, Tensor]) => p[0].mul(p[1]).mul(p[1]).sum())([x, x])
    expect(await numbers(a)).toEqual([9])
    expect(await numbers(b)).toEqual([18])
  })
  test('only the use as an argument counts, not the capture', async () => {
    const x = tensor([3])
    expect(await numbers(grad((y: Tensor) => y.mul(x).sum())(x))).toEqual([3])
  })
  test('stopGradient', async () => {
    const f = (y: Tensor) => y.mul(y.stopGradient()).sum()
    expect(await numbers(grad(f)(tensor([3])))).toEqual([3])
    expect(await numbers(grad((y: Tensor) => y.stopGradient().sum())(tensor([3])))).toEqual([0])
  })
  test('through a cast to another float type, but not through integers', async () => {
    expect(await numbers(grad((y: Tensor) => y.cast('f64').mul(2).sum())(tensor([1])))).toEqual([2])
    expect(await numbers(grad((y: Tensor) => y.cast('i32').cast('f32').mul(2).sum())(tensor([1])))).toEqual([
      0,
    ])
  })
  test('a parameter that is the loss', async () => {
    expect(await numbers(grad((y: Tensor) => y)(scalar(4)))).toEqual([1])
  })
  test('a long chain does not overflow the stack', async () => {
    const f = (y: Tensor) => {
      let x = y
      for (let i = 0; i < 20_000; i++) x = x.add(1)
      return x
    }
    const { graph } = trace((y: Tensor) => grad(f)(y), [scalar(1)])
    expect(interpret(graph, [toNd(scalar(1))])[0]!.data[0]).toBe(1)
  })
  test('errors', () => {
    expect(() => grad((y: Tensor) => y)(tensor([1, 2]))).toThrow('grad needs a scalar loss, got f32[2]')
    expect(() => grad((y: Tensor) => y.cast('i32'))(scalar(1))).toThrow(
      'grad needs a loss of floats, got i32[]',
    )
    expect(() => grad((p: { n: Tensor }) => p.n.sum())({ n: tensor([1], [1], 'i32') })).toThrow(
      "cannot differentiate with respect to 'n' of dtype i32",
    )
  })
})

describe('vjp', () => {
  test('several arguments and results', async () => {
    const { value, pullback } = vjp(
      (x: Tensor, y: Tensor) => ({ product: x.mul(y), sum: x.sum() }),
      tensor([2, 3]),
      tensor([5, 7]),
    )
    expect(await numbers(value.product)).toEqual([10, 21])
    const [x, y] = pullback({ product: tensor([1, 10]), sum: scalar(100) })
    expect(await numbers(x)).toEqual([105, 170])
    expect(await numbers(y)).toEqual([2, 30])
  })
  test('cotangents that do not fit', () => {
    const { pullback } = vjp((x: Tensor) => x.mul(2), tensor([1, 2]))
    expect(() => pullback(scalar(1))).toThrow('vjp: cotangents [f32[]] of values [f32[2]]')
  })
})

describe('derivatives of derivatives', () => {
  test('closed forms', async () => {
    const cubic = grad((x: Tensor) => x.pow(3).sum())
    expect(await numbers(grad((x: Tensor) => cubic(x).sum())(tensor([2, -1])))).toEqual([12, -6])
    const third = grad((x: Tensor) => grad((y: Tensor) => cubic(y).sum())(x).sum())
    expect(await numbers(third(tensor([2])))).toEqual([6])
    const sin2 = grad((x: Tensor) => grad((y: Tensor) => y.sin().sum())(x).sum())
    expect(await numbers(sin2(tensor([0.5])))).toEqual([expect.closeTo(-Math.sin(0.5), 6)])
  })
  test('a Hessian times a vector: x^T A x', async () => {
    const a = tensor([2, 1, 1, 3], [2, 2])
    const form = (x: Tensor) => x.expandDims(0).matmul(a).matmul(x.expandDims(1)).sum()
    const v = tensor([1, -2])
    expect(await numbers(grad((x: Tensor) => grad(form)(x).mul(v).sum())(tensor([5, 7])))).toEqual([0, -10])
  })
  test('a gradient inside a loss: a penalty on its norm', async () => {
    // f = w^2 x, df/dx = w^2; the penalty (w^2)^2 has the derivative 4 w^3.
    const penalty = (w: Tensor) =>
      grad((x: Tensor) => w.mul(w).mul(x).sum())(tensor([3]))
        .pow(2)
        .sum()
    expect(await numbers(grad(penalty)(tensor([2])))).toEqual([32])
  })
})

describe('checkpoint', () => {
  const weight = () => floats([4, 4], 9, -0.5, 0.5)
  const block = (w: Tensor) => (x: Tensor) =>
    gelu(rmsNorm(x, w.slice(0, 0, 1).reshape([4]), 1e-5).matmul(w)).add(x)

  test('values and gradients are those without it, for arguments and what is captured', async () => {
    const deep = (wrap: typeof checkpoint) =>
      engine.jit((w: Tensor, x: Tensor) =>
        valueAndGrad(([u, y]: [Tensor, Tensor]) => {
          const f = wrap(block(u))
          return f(f(f(y)))
            .pow(2)
            .mean()
        })([w, x]),
      )
    const args = [weight(), floats([3, 4])] as const
    const [plain, kept] = [deep((f) => f), deep(checkpoint)]
    const [value, [dw, dx]] = await plain(...args)
    const [again, [dw2, dx2]] = await kept(...args)
    expect(again.item()).toBeCloseTo(value.item(), 6)
    expectClose(toNd(dw2), toNd(dw), f32GradTolerance)
    expectClose(toNd(dx2), toNd(dx), f32GradTolerance)
    expect(Math.abs(dw.data[0] as number)).toBeGreaterThan(1e-4)
    plain.dispose()
    kept.dispose()
  })
  test('an argument that is captured too', async () => {
    expect(
      await numbers(grad((x: Tensor) => checkpoint((y: Tensor) => y.mul(x))(x).sum())(tensor([3]))),
    ).toEqual([6])
  })
  test('an argument given twice, several results, some unused', async () => {
    const f = checkpoint((x: Tensor, y: Tensor) => ({ product: x.mul(y), sum: x.add(y), rest: x.exp() }))
    const loss = (x: Tensor) => f(x, x).product.add(f(x, x).sum).sum()
    expect(await numbers(grad(loss)(tensor([3])))).toEqual([8])
  })
  test('integers, masks and scalars as arguments', async () => {
    const table = floats([5, 2])
    const f = checkpoint((rows: Tensor, t: Tensor, mask: Tensor, factor: Tensor) =>
      mask.where(t.gather(rows).mul(factor), 0),
    )
    const rows = integers([3], 'i32', 0, 5)
    const mask = tensor([1, 0, 1], [3, 1], 'bool')
    const loss = (call: typeof f) => (t: Tensor, factor: Tensor) => call(rows, t, mask, factor).pow(2).sum()
    const slopes = (call: typeof f) =>
      grad(([t, factor]: [Tensor, Tensor]) => loss(call)(t, factor))([table, scalar(2)])
    const plain = (r: Tensor, t: Tensor, m: Tensor, s: Tensor) => m.where(t.gather(r).mul(s), 0)
    const [expected, actual] = await engine.compute([slopes(plain), slopes(f)])
    expectClose(toNd(actual[0]), toNd(expected[0]), f32GradTolerance)
    expectClose(toNd(actual[1]), toNd(expected[1]), f32GradTolerance)
    expect(actual[1].sizes).toEqual([])
  })
  test('captured values, wrt by backpropagate', async () => {
    const w = tensor([5])
    const x = tensor([2])
    const loss = checkpoint((y: Tensor) => y.mul(w))(x).sum()
    const [dw] = backpropagate([loss], [scalar(1)], [w])
    expect(await numbers(dw!)).toEqual([2])
  })
  test('nested, and derivatives of derivatives', async () => {
    const f = checkpoint((x: Tensor) => checkpoint((y: Tensor) => y.pow(3))(x).mul(x))
    const second = grad((x: Tensor) => grad((y: Tensor) => f(y).sum())(x).sum())
    expect(await numbers(second(tensor([2])))).toEqual([48])
  })
  test('two functions of equal shape are two programs', async () => {
    const x = tensor([2])
    expect(await numbers(checkpoint((y: Tensor) => y.mul(3))(x))).toEqual([6])
    expect(await numbers(checkpoint((y: Tensor) => y.add(3))(x))).toEqual([5])
    const captured = (value: number) => checkpoint((y: Tensor) => y.mul(tensor([value])))(x)
    expect(await numbers(captured(10))).toEqual([20])
    expect(await numbers(captured(20))).toEqual([40])
  })

  /** A chain whose blocks each have one product and one exponential. */
  const chain = (depth: number, wrap: typeof checkpoint) => (w: Tensor, x: Tensor) => {
    const step = wrap((y: Tensor, v: Tensor) => y.matmul(v).mul(0.1).sin().exp())
    return grad(([v, y]: [Tensor, Tensor]) => {
      let h = y
      for (let i = 0; i < depth; i++) h = step(h, v)
      return h.sum()
    })([w, x])
  }
  const depth = 6
  const args: [Tensor, Tensor] = [floats([8, 8]), floats([4, 8])]

  test('the runtime does compute twice', async () => {
    const count = async (wrap: typeof checkpoint, op: string) => {
      const rows = await profile(engine, chain(depth, wrap), args, { runs: 1 })
      return rows.filter((row) => row.op === op).reduce((sum, { calls }) => sum + calls, 0)
    }
    expect(await count((f) => f, 'Exp')).toBe(depth)
    // Nobody asks for the loss itself, so the last block is computed only on the way back.
    expect(await count(checkpoint, 'Exp')).toBe(2 * depth - 1)
    expect(await count(checkpoint, 'Sin')).toBe(2 * depth - 1)
  })
  test('nor does its optimiser merge the two', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'glossa-optimised-'))
    try {
      const count = async (graph: Graph): Promise<number> => {
        const path = join(folder, 'model.onnx')
        const { model } = lower(graph, { name: 'chain', provider: 'cpu' })
        const session = await InferenceSession.create(encodeModel(model), {
          optimizedModelFilePath: path,
          graphOptimizationLevel: 'all',
          logSeverityLevel: 4,
        })
        await session.release()
        return operatorsOf(readFileSync(path)).filter((op) => op === 'Exp').length
      }
      expect(
        await count(
          trace(
            chain(depth, (f) => f),
            args,
          ).graph,
        ),
      ).toBe(depth)
      expect(await count(trace(chain(depth, checkpoint), args).graph)).toBe(2 * depth - 1)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('customGradient', () => {
  // The sign of x, with the derivative of tanh: its straight-through estimate.
  const sign = customGradient(
    'softSign',
    (x) => [x!.sign(), x!.tanh()],
    ([g, gTanh], { outputs: [, y] }) => [
      (g && gTanh ? g.add(gTanh) : (g ?? gTanh))?.mul(y!.mul(y!).neg().add(1)),
    ],
  )

  test('keeps the values, and gives its own gradient', async () => {
    const x = tensor([-2, -0.5, 0, 0.3, 4])
    const weights = tensor([1, -2, 3, 4, 5])
    const [value, dx] = valueAndGrad((x: Tensor) => sign(x)[0]!.mul(weights).sum())(x)
    expect(await numbers(value)).toEqual([-1 + 2 + 0 + 4 + 5])
    const wanted = [-2, -0.5, 0, 0.3, 4].map((v, i) => [1, -2, 3, 4, 5][i]! * (1 - Math.tanh(v) ** 2))
    const found = await numbers(dx)
    wanted.forEach((value, i) => {
      expect(found[i]!).toBeCloseTo(value, 5)
    })
  })

  test('can be differentiated again, and runs in the reference interpreter', () => {
    const x = tensor(Float64Array.of(0.3))
    const { graph } = trace(
      (x: Tensor) => grad((y: Tensor) => grad((z: Tensor) => sign(z)[0]!.sum())(y).sum())(x),
      [x],
    )
    const [second] = interpret(graph, [toNd(x)])
    const t = Math.tanh(0.3)
    // Of 1 − tanh², through the output that the first gradient uses.
    expect(second!.data[0]).toBeCloseTo(-2 * t * (1 - t * t), 12)
  })
})

/** The op_type of every node of an ONNX model. */
function operatorsOf(bytes: Uint8Array): string[] {
  const ops: string[] = []
  new PbfReader(bytes).readFields((tag, _, model) => {
    if (tag !== 7) return
    model.readMessage((inGraph, __, graph) => {
      if (inGraph !== 1) return
      graph.readMessage((inNode, ___, node) => {
        if (inNode === 4) ops.push(node.readString())
      }, undefined)
    }, undefined)
  }, undefined)
  return ops
}
