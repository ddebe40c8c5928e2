/** Loops: against the same steps written out, closed forms, and differences of gradients. */
import { afterAll, describe, expect, test } from 'vitest'
import { callOf, postOrder } from '../../src/array/graph.ts'
import {
  checkpoint,
  concat,
  grad,
  interpret,
  printGraph,
  scalar,
  scan,
  type Tensor,
  tensor,
  trace,
  valueAndGrad,
  zeros,
} from '../../src/array/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { lower } from '../../src/onnx/lower.ts'
import type { OnnxNode } from '../../src/onnx/proto.ts'
import { expectClose, f32GradTolerance, f32Tolerance, floats, integers, toNd } from './support.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const numbers = async (x: Tensor): Promise<number[]> => [...toNd(await engine.compute(x)).data]

interface Weights {
  readonly w: Tensor
  readonly u: Tensor
}
type Recurrent = (p: Weights, x: Tensor) => Tensor
const step = (p: Weights, h: Tensor, x: Tensor): Tensor => x.matmul(p.w).add(h.matmul(p.u)).tanh()
/** Σ over steps of |h_t|², with h_t = tanh(x_t W + h_{t-1} U) and h_0 = 0. x [T, B, 2] */
const looped: Recurrent = (p, x) => {
  const { ys } = scan(
    (h: Tensor, x: Tensor) => {
      const next = step(p, h, x)
      return [next, next] as const
    },
    zeros([3, 4]),
    x,
  )
  return ys.mul(ys).sum()
}
const unrolled: Recurrent = (p, x) => {
  let h = zeros([3, 4])
  let sum = scalar(0)
  for (let t = 0; t < 5; t++) {
    h = step(p, h, x.slice(0, t, t + 1).reshape([3, 2]))
    sum = sum.add(h.mul(h).sum())
  }
  return sum
}
const weights = { w: floats([2, 4], 2, -1, 1), u: floats([4, 4], 3, -1, 1) }
const inputs = floats([5, 3, 2], 1)

describe('a recurrent layer', () => {
  const both = [looped, unrolled] as const

  test('gives what its steps give, written out', async () => {
    const [a, b] = await Promise.all(both.map((f) => engine.jit(valueAndGrad(f))(weights, inputs)))
    expectClose(toNd(a![0]), toNd(b![0]), f32Tolerance, 'value')
    expectClose(toNd(a![1].w), toNd(b![1].w), f32GradTolerance, 'w')
    expectClose(toNd(a![1].u), toNd(b![1].u), f32GradTolerance, 'u')
  })

  test('has second derivatives', async () => {
    const vectors = { w: floats([2, 4], 4), u: floats([4, 4], 5) }
    /** The Hessian times a vector, in all weights. */
    const product = (f: Recurrent) => (p: Weights) =>
      grad((q: Weights) => {
        const g = grad(f)(q, inputs)
        return g.w.mul(vectors.w).sum().add(g.u.mul(vectors.u).sum())
      })(p)
    const [a, b] = await Promise.all(both.map((f) => engine.jit(product(f))(weights)))
    expectClose(toNd(a!.w), toNd(b!.w), f32GradTolerance, 'w')
    expectClose(toNd(a!.u), toNd(b!.u), f32GradTolerance, 'u')
    // And, in float64, against differences of gradients along the vector.
    const gradient = trace((p: Weights) => grad(looped)(p, inputs), [weights]).graph
    const [w, u, dw, du] = [weights.w, weights.u, vectors.w, vectors.u].map(toNd)
    const moved = (size: number) => {
      const move = (x: typeof w, d: typeof w) => ({
        shape: x!.shape,
        data: x!.data.map((v, i) => v + size * d!.data[i]!),
      })
      return interpret(gradient, [move(w, dw), move(u, du)])
    }
    const [more, less] = [moved(1e-5), moved(-1e-5)]
    const exact = interpret(trace(product(looped), [weights]).graph, [w!, u!])
    exact.forEach((own, i) => {
      const slope = own.data.map((_, k) => (more[i]!.data[k]! - less[i]!.data[k]!) / 2e-5)
      expectClose(own, { shape: own.shape, data: slope }, 1e-7, `output ${i}`)
    })
  })

  test('can be computed again in the backward pass', async () => {
    const again: Recurrent = (p, x) => checkpoint((q: Weights, y: Tensor) => looped(q, y))(p, x)
    const [a, b] = await Promise.all([looped, again].map((f) => engine.jit(grad(f))(weights, inputs)))
    expectClose(toNd(b!.u), toNd(a!.u), f32GradTolerance)
  })

  test('is one program for any number of steps', async () => {
    const f = engine.jit((x: Tensor) => grad((p: Weights) => looped(p, x))(weights).u, {
      axes: [['time', null, null]],
    })
    const whole = toNd(await f(inputs))
    for (let steps = 1; steps <= 20; steps++) await f(floats([steps, 3, 2], steps))
    expect(f.compilations).toBe(1)
    expectClose(toNd(await f(inputs)), whole, 0)
    await expect(f(floats([0, 3, 2]))).rejects.toThrow(/scan: no step to take .* with time = 0/)
    f.dispose()
  })
})

describe('closed forms', () => {
  test('running sums, forwards and backwards', async () => {
    const x = tensor([1, 2, 4, 8])
    const sums = (reverse: boolean) =>
      scan((sum: Tensor, x: Tensor) => [sum.add(x), sum.add(x)] as const, scalar(0), x, { reverse }).ys
    expect(await numbers(sums(false))).toEqual([1, 3, 7, 15])
    expect(await numbers(sums(true))).toEqual([15, 14, 12, 8])
  })

  test('a power by its steps: the derivatives of x⁵', async () => {
    const fifth = (x: Tensor): Tensor =>
      scan((p: Tensor, _: Tensor) => [p.mul(x), undefined] as const, scalar(1), zeros([5])).state
    expect(await numbers(fifth(scalar(2)))).toEqual([32])
    expect(await numbers(grad(fifth)(scalar(2)))).toEqual([80])
    expect(await numbers(grad(grad(fifth))(scalar(2)))).toEqual([160])
    expect(await numbers(grad(grad(grad(fifth)))(scalar(2)))).toEqual([240])
  })

  test('an array made inside a step, and equal loops over others', async () => {
    const f = (x: Tensor, factor: number) =>
      scan((h: Tensor, x: Tensor) => [h.add(x.mul(tensor([factor, 1]))), undefined] as const, zeros([2]), x)
        .state
    const x = tensor([1, 2, 3, 4], [2, 2])
    // The program is shared, the array is not.
    expect(await numbers(f(x, 10))).toEqual([40, 6])
    expect(await numbers(f(x, 100))).toEqual([400, 6])
  })

  test('integers along the way have no gradient', async () => {
    const table = floats([4, 2], 7)
    const ids = integers([6], 'i32', 0, 4)
    const f = (t: Tensor): Tensor =>
      scan(
        (sum: Tensor, id: Tensor) => [sum.add(t.gather(id).mul(2)), undefined] as const,
        zeros([2]),
        ids,
      ).state.sum()
    const counts = [0, 1, 2, 3].map((id) => [...(ids.data as Int32Array)].filter((x) => x === id).length)
    expect(await numbers(grad(f)(table))).toEqual(counts.flatMap((n) => [2 * n, 2 * n]))
  })
})

describe('graphs', () => {
  const loops = (nodes: readonly OnnxNode[]): OnnxNode[] =>
    nodes.flatMap((node) => (node.body ? [node, ...loops(node.body.nodes)] : []))
  const lowered = (f: (...args: Tensor[]) => unknown, args: Tensor[]): OnnxNode[] =>
    loops(lower(trace(f as never, args as never).graph, { name: 'f', provider: 'cpu' }).model.nodes)

  test('leave out what nobody asks for', () => {
    const f = (x: Tensor, w: Tensor, b: Tensor): Tensor =>
      scan((h: Tensor, x: Tensor) => [h.mul(w).add(x).add(b), h] as const, b, x).ys.sum()
    const args = [inputs, floats([3, 2]), floats([3, 2])]
    // Forward: the state and one result. Backward: the states before, and no sums but those that are wanted.
    expect(lowered(f, args).map(({ outputs }) => outputs.length)).toEqual([2])
    const all = lowered((x, w, b) => grad((p: [Tensor, Tensor, Tensor]) => f(...p))([x!, w!, b!]), args)
    const one = lowered((x, w, b) => grad((p: Tensor) => f(p, w!, b!))(x!), args)
    expect(all.map(({ outputs }) => outputs.length)).toEqual([2, 4])
    expect(one.map(({ outputs }) => outputs.length)).toEqual([2])
  })

  test('are printed with their bodies', () => {
    const f = (x: Tensor, w: Tensor) => scan((h: Tensor, x: Tensor) => [h.mul(w).add(x), h] as const, w, x)
    expect(printGraph(trace(f, [floats([4, 2]), floats([2])]).graph)).toBe(
      [
        'input @0   f32[4, 2]',
        'input @1   f32[2]',
        '%0, %1, %2 = scan(@1, @0, @1) {states: 1, sequences: 1}   f32[2], f32[4, 2], f32[4, 2]',
        '  input @0   f32[2]',
        '  input @1   f32[2]',
        '  input @2   f32[2]',
        '  %0 = mul(@0, @2)   f32[2]',
        '  %1 = add(%0, @1)   f32[2]',
        '  output 0 = %1',
        '  output 1 = @0',
        '  output 2 = @0',
        'output state = %0',
        'output ys = %1',
      ].join('\n'),
    )
  })

  test('do not repeat what is around a loop inside of it', () => {
    const f = (x: Tensor, w: Tensor) => {
      const a = w.exp()
      return scan((h: Tensor, x: Tensor) => [h.mul(a).add(x), h] as const, a, x).ys
    }
    const { graph } = trace(f, [floats([4, 2]), floats([2])])
    const outside = postOrder(graph.outputs.map(({ tensor }) => tensor)).map((node) => callOf(node)?.op.name)
    expect(outside.filter((name) => name === 'exp')).toHaveLength(1)
    expect(
      lowered(f as never, [floats([4, 2]), floats([2])])[0]!.body!.nodes.map(({ op }) => op),
    ).not.toContain('Exp')
  })
})

describe('refusals', () => {
  const x = floats([4, 2])
  test.each([
    [
      'a state of another shape',
      () => scan((h: Tensor, x: Tensor) => [h.add(x), h] as const, scalar(0), x),
      /state 0 begins as f32\[\] and a step makes f32\[2\]/,
    ],
    [
      'a state of another structure',
      () =>
        scan(
          (h: { a?: Tensor; b?: Tensor }, x: Tensor) => [{ b: x }, h] as const,
          { a: scalar(0) } as { a?: Tensor; b?: Tensor },
          x,
        ),
      /leaves \[a\] and a step makes \[b\]/,
    ],
    [
      'sequences of other lengths',
      () => scan((h: Tensor, _: readonly Tensor[]) => [h, h] as const, scalar(0), [x, floats([3, 2])]),
      /\[\[4, 2\], \[3, 2\]\] have no first axis in common/,
    ],
    ['no sequence', () => scan((h: Tensor, _: object) => [h, h] as const, scalar(0), {}), /no step to take/],
    [
      'a number for a sequence',
      () => scan((h: Tensor, _: Tensor) => [h, h] as const, scalar(0), scalar(1)),
      /no step to take/,
    ],
    [
      'an empty sequence',
      () => scan((h: Tensor, _: Tensor) => [h, h] as const, scalar(0), zeros([0, 2])),
      /no step to take along the first axis of \[\[0, 2\]\]/,
    ],
  ])('%s', (_, f, message) => {
    expect(f).toThrow(message)
  })
})

test('concatenations of slices and states keep their places', async () => {
  const x = floats([3, 2])
  const { ys } = scan((h: Tensor, x: Tensor) => [x, concat([h, x], 0)] as const, zeros([2]), x)
  const [a, b, c, d, e, f] = x.data as Float32Array
  expect(await numbers(ys)).toEqual([0, 0, a, b, a, b, c, d, c, d, e, f])
})
