/** Every fused operation against its body: operator, gradient, second derivatives. */
import { afterAll, describe, expect, test } from 'vitest'
import { callOf, postOrder } from '../../src/array/graph.ts'
import {
  addLayerNorm,
  addRmsNorm,
  crossEntropy,
  fusedOperations,
  gelu,
  interpret,
  isFloat,
  layerNorm,
  logSoftmax,
  random,
  rmsNorm,
  silu,
  softmax,
  softplus,
  type Tensor,
  tensor,
  trace,
  valueAndGrad,
} from '../../src/array/index.ts'
import { dequantize, quantizedMatmul } from '../../src/array/quantized.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { lower } from '../../src/onnx/lower.ts'
import {
  as,
  type Case,
  differences,
  differenceTolerance,
  expectClose,
  f32GradTolerance,
  f32Tolerance,
  floats,
  gradGraph,
  integers,
  toNd,
  weightedSum,
} from './support.ts'

const engine = new Engine(nodeRuntime({ threads: 2 }))
afterAll(() => engine.dispose())

interface FusedCase {
  readonly title: string
  readonly inputs: (n: number) => readonly Tensor[]
  readonly call: (...inputs: readonly Tensor[]) => Tensor
  readonly axes?: Case['axes']
  readonly sizes?: readonly number[]
  /** ONNX operators that must be there. */
  readonly operators?: readonly string[]
  /** The operator's own precision, where it is less than f32. */
  readonly tolerance?: number
}

const batch = [['n', null]]
const norms = (n: number) => [floats([n, 8], 1), floats([8], 2), floats([8], 3)]
const far = (n: number) =>
  [floats([n, 8], 1).data, 0].slice(0, 1).map((data) =>
    tensor(
      Float32Array.from(data as Float32Array, (v) => v + 5),
      [n, 8],
    ),
  )

const cases: Readonly<Record<string, readonly FusedCase[]>> = {
  softmax: [
    {
      title: 'last axis',
      call: (x) => softmax(x!),
      inputs: (n) => [floats([n, 5])],
      axes: batch,
      operators: ['Softmax'],
    },
    {
      title: 'first axis',
      call: (x) => softmax(x!, 0),
      inputs: (n) => [floats([n, 5])],
      axes: batch,
      sizes: [3, 1],
    },
    { title: 'large scores', call: (x) => softmax(x!), inputs: () => [floats([2, 4], 1, 90, 120)] },
    { title: 'masked scores', call: (x) => softmax(x!), inputs: () => [tensor([1, -1e30, 2, 0.5])] },
  ],
  logSoftmax: [
    {
      title: 'last axis',
      call: (x) => logSoftmax(x!),
      inputs: (n) => [floats([n, 5])],
      axes: batch,
      operators: ['LogSoftmax'],
    },
    { title: 'middle axis', call: (x) => logSoftmax(x!, 1), inputs: () => [floats([2, 3, 2])] },
  ],
  crossEntropy: [
    {
      title: 'positions',
      call: (x, t) => crossEntropy(x!, t!),
      inputs: (n) => [floats([2, n, 5]), integers([2, n])],
      axes: [
        [null, 'n', null],
        [null, 'n'],
      ],
    },
    { title: 'one', call: (x, t) => crossEntropy(x!, t!), inputs: () => [floats([5]), integers([])] },
  ],
  layerNorm: [
    {
      title: 'with bias',
      call: (x, w, b) => layerNorm(x!, w!, b, 1e-5),
      inputs: norms,
      axes: [['n', null]],
      operators: ['LayerNormalization'],
    },
    {
      title: 'without bias',
      call: (x, w) => layerNorm(x!, w!, undefined, 0.1),
      inputs: (n) => norms(n).slice(0, 2),
      axes: [['n', null]],
    },
    {
      title: 'far from 0',
      call: (x, w) => layerNorm(x!, w!, undefined, 1e-5),
      inputs: (n) => [...far(n), floats([8], 2)],
    },
    {
      title: 'symbolic width',
      call: (x, w, b) => layerNorm(x!, w!, b, 1e-5),
      inputs: (n) => [floats([2, n]), floats([n], 2), floats([n], 3)],
      axes: [[null, 'n'], ['n'], ['n']],
      sizes: [6, 3],
    },
  ],
  rmsNorm: [
    {
      title: 'rows',
      call: (x, w) => rmsNorm(x!, w!, 1e-6),
      inputs: (n) => norms(n).slice(0, 2),
      axes: [['n', null]],
      operators: ['SimplifiedLayerNormalization'],
    },
    { title: 'large epsilon', call: (x, w) => rmsNorm(x!, w!, 1), inputs: (n) => norms(n).slice(0, 2) },
    {
      title: 'symbolic width',
      call: (x, w) => rmsNorm(x!, w!, 1e-5),
      inputs: (n) => [floats([2, n]), floats([n], 2)],
      axes: [[null, 'n'], ['n']],
      sizes: [6, 3],
    },
  ],
  addRmsNorm: [
    {
      title: 'three axes',
      call: (x, u, w) => addRmsNorm(x!, u!, w!, 1e-5).normal,
      inputs: (n) => [floats([2, n, 8]), floats([2, n, 8], 4), floats([8], 2)],
      axes: [
        [null, 'n', null],
        [null, 'n', null],
      ],
      operators: ['SkipSimplifiedLayerNormalization'],
    },
    {
      title: 'broadcast update',
      call: (x, u, w) => addRmsNorm(x!, u!, w!, 1e-5).normal,
      inputs: () => [floats([2, 3, 8]), floats([8], 4), floats([8], 2)],
    },
    {
      title: 'broadcast x',
      call: (x, u, w) => addRmsNorm(x!, u!, w!, 1e-5).normal,
      inputs: () => [floats([1, 8]), floats([2, 3, 8], 4), floats([8], 2)],
    },
    {
      title: 'four axes',
      call: (x, u, w) => addRmsNorm(x!, u!, w!, 1e-5).normal,
      inputs: () => [floats([2, 1, 3, 8]), floats([2, 1, 3, 8], 4), floats([8], 2)],
    },
    {
      title: 'one axis',
      call: (x, u, w) => addRmsNorm(x!, u!, w!, 1e-5).normal,
      inputs: () => [floats([8]), floats([8], 4), floats([8], 2)],
    },
  ],
  addLayerNorm: [
    {
      title: 'three axes',
      call: (x, u, w, b) => addLayerNorm(x!, u!, w!, b, 1e-5).normal,
      inputs: (n) => [floats([2, n, 8]), floats([2, n, 8], 4), floats([8], 2), floats([8], 3)],
      axes: [
        [null, 'n', null],
        [null, 'n', null],
      ],
      operators: ['SkipLayerNormalization'],
    },
    {
      title: 'no bias, broadcast update',
      call: (x, u, w) => addLayerNorm(x!, u!, w!, undefined, 1e-5).normal,
      inputs: () => [floats([2, 3, 8]), floats([3, 8], 4), floats([8], 2)],
    },
    {
      title: 'four axes',
      call: (x, u, w, b) => addLayerNorm(x!, u!, w!, b, 1e-5).normal,
      inputs: () => [floats([2, 1, 3, 8]), floats([2, 1, 3, 8], 4), floats([8], 2), floats([8], 3)],
    },
  ],
  gelu: [
    {
      title: 'exact',
      call: (x) => gelu(x!),
      inputs: (n) => [floats([n, 5], 1, -4, 4)],
      axes: batch,
      sizes: [3, 1, 0],
      operators: ['Gelu'],
    },
    {
      title: 'tanh',
      call: (x) => gelu(x!, 'tanh'),
      inputs: (n) => [floats([n, 5], 1, -4, 4)],
      axes: batch,
      sizes: [3, 1, 0],
      operators: ['Gelu'],
    },
    { title: 'tails', call: (x) => gelu(x!, 'tanh'), inputs: () => [tensor([-50, -10, 0, 10, 50])] },
  ],
  silu: [
    {
      title: 'rows',
      call: (x) => silu(x!),
      inputs: (n) => [floats([n, 5], 1, -4, 4)],
      axes: batch,
      sizes: [3, 1, 0],
      operators: ['QuickGelu'],
    },
    { title: 'tails', call: (x) => silu(x!), inputs: () => [tensor([-100, -20, 0, 20, 100])] },
  ],
  mixWords: [
    {
      title: 'rows',
      call: (x) => random.mixWords(x!),
      inputs: (n) => [integers([n, 5], 'i64', 0, 2 ** 32)],
      axes: batch,
      sizes: [300, 1, 0],
      operators: ['BitShift'],
      tolerance: 0,
    },
    {
      title: 'the ends',
      call: (x) => random.mixWords(x!),
      inputs: () => [tensor([0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1], [5], 'i64')],
      tolerance: 0,
    },
  ],
  softplus: [
    {
      title: 'rows',
      call: (x) => softplus(x!),
      inputs: (n) => [floats([n, 5], 1, -4, 4)],
      axes: batch,
      sizes: [3, 1, 0],
      operators: ['Softplus'],
    },
    { title: 'tails', call: (x) => softplus(x!), inputs: () => [tensor([-100, -20, 20, 100])] },
  ],
  quantizedMatmul: [
    {
      title: '4 bits as inputs',
      call: (x, w, s) => quantizedMatmul(x!, w!, s!),
      inputs: (n) => [floats([n, 32]), integers([3, 2, 8], 'u8', 0, 256), floats([3, 2], 5, 0.1, 0.3)],
      axes: [['n', null]],
    },
    {
      title: '8 bits as inputs',
      call: (x, w, s) => quantizedMatmul(x!, w!, s!),
      inputs: (n) => [floats([n, 32]), integers([3, 2, 16], 'u8', 0, 256), floats([3, 2], 5, 0.01, 0.03)],
      axes: [['n', null]],
    },
  ],
}

test('every fused operation has cases', () => {
  expect(Object.keys(cases).sort()).toEqual([...fusedOperations.keys()].sort())
})

describe.each(Object.keys(cases))('%s', (name) => {
  const definition = fusedOperations.get(name)!
  /** All outputs of the operation, and of its body. */
  const whole =
    (call: FusedCase['call']) =>
    (...inputs: readonly Tensor[]) => {
      const found = postOrder([call(...inputs)])
        .map(callOf)
        .find((made) => made?.op.name === name)
      return found!.outputs
    }
  const body =
    (call: FusedCase['call']) =>
    (...inputs: readonly Tensor[]) => {
      const made = callOf(whole(call)(...inputs)[0]!)!
      return definition.body(made.inputs, made.attributes as never)
    }

  describe.each(cases[name]!.map((item) => [item.title, item] as const))('%s', (_, item) => {
    const { call, inputs, axes, sizes = [3, 1], operators = [], tolerance = f32Tolerance } = item
    const argLists = sizes.map(inputs)
    const first = argLists[0]!

    test('the operator computes what the body says', async () => {
      for (const named of axes ? [undefined, axes] : [undefined])
        for (const f of [whole(call), body(call)]) {
          const shapes = named ? [first] : argLists
          for (const args of shapes) {
            const { graph } = trace(f, args, named ? { axes: named } : {})
            const program = await engine.compile(graph)
            for (const values of named ? argLists : [args]) {
              const outputs = await program.run(values)
              interpret(graph, values.map(toNd)).forEach((expected, i) => {
                expectClose(toNd(outputs[i]!), expected, tolerance, `output ${i}`)
              })
            }
            program.dispose()
          }
        }
      const { graph } = trace(call, first)
      const ops = lower(graph, { name, provider: 'cpu' }).model.nodes.map(({ op }) => op)
      for (const operator of operators) expect(ops).toContain(operator)
    })

    // Integers have no gradient.
    if (!first.some(({ dtype }) => isFloat(dtype))) return

    test('the gradient is that of the body', async () => {
      for (const given of argLists) {
        // In double precision the literals of a formula are exact too; unpacked weights are f32.
        const exact = (x: Tensor) => (x.dtype === 'f32' && name !== 'quantizedMatmul' ? as(x, 'f64') : x)
        const args = given.map(exact)
        const values = args.map(toNd)
        const { loss, grads } = gradGraph(whole(call), args)
        const expected = interpret(gradGraph(body(call), args).grads, values)
        const actual = interpret(grads, values)
        actual.forEach((grad, i) => {
          expectClose(grad, expected[i]!, 1e-9, `gradient ${i}`)
        })
        differences(loss, values).forEach((slope, i) => {
          expectClose(actual[i]!, slope, differenceTolerance, `gradient ${i} by differences`)
        })
      }
    })

    test('the gradient on the engine', async () => {
      for (const named of axes ? [undefined, axes] : [undefined])
        for (const args of named ? [first] : argLists) {
          // With the value beside it: then the operator's intermediate values may be shared.
          const { grads } = gradGraph(whole(call), args, named)
          const program = await engine.compile(grads)
          for (const values of named ? argLists : [args]) {
            const outputs = await program.run(values)
            interpret(grads, values.map(toNd)).forEach((expected, i) => {
              expectClose(toNd(outputs[i]!), expected, f32GradTolerance, `gradient ${i}`)
            })
          }
          program.dispose()
        }
    })

    test('second derivatives', async () => {
      const args = argLists.at(-1)!.some(({ sizes }) => sizes.includes(0)) ? first : argLists.at(-1)!
      const slopes = (...all: readonly Tensor[]) => {
        const wrt = all.filter(({ dtype }) => isFloat(dtype))
        const f = (moved: readonly Tensor[]) => {
          let next = 0
          return weightedSum(whole(call)(...all.map((x) => (isFloat(x.dtype) ? moved[next++]! : x))))
        }
        return valueAndGrad(f)(wrt)[1]
      }
      const { loss, grads } = gradGraph(slopes, args)
      const values = args.map(toNd)
      const expected = differences(loss, values)
      const actual = interpret(grads, values)
      actual.forEach((grad, i) => {
        expectClose(grad, expected[i]!, 10 * differenceTolerance, `second derivative ${i}`)
      })
      const program = await engine.compile(grads)
      const outputs = await program.run(args)
      actual.forEach((grad, i) => {
        expectClose(toNd(outputs[i]!), grad, 3 * f32GradTolerance, `second derivative ${i} on the engine`)
      })
      program.dispose()
    })
  })
})

describe('in double precision', () => {
  const f64 = (x: Tensor) => as(x, 'f64')
  const [x, w, b] = norms(3).map(f64) as [Tensor, Tensor, Tensor]
  const calls: readonly [string, () => Tensor][] = [
    ['softmax', () => softmax(x)],
    ['logSoftmax', () => logSoftmax(x)],
    ['layerNorm', () => layerNorm(x, w, b, 1e-5)],
    ['rmsNorm', () => rmsNorm(x, w, 1e-5)],
    ['addRmsNorm', () => addRmsNorm(x, x, w, 1e-5).normal],
    ['gelu tanh', () => gelu(x, 'tanh')],
    ['silu', () => silu(x)],
    ['softplus', () => softplus(x)],
  ]
  test.each(calls)('%s', async (_, call) => {
    const { graph } = trace(call, [])
    const [expected] = interpret(graph, [])
    expectClose(toNd(await engine.compute(call())), expected!, 1e-12)
  })
})

describe('quantised weights as constants', () => {
  // The operator rounds activations to 8 bits per block: a relative error of about 1/255 of the largest.
  const activationRounding = 0.02
  test.each([
    [4, 16],
    [4, 32],
    [4, 64],
    [4, 128],
    [8, 32],
    [8, 128],
  ])('%i bits, blocks of %i', async (bits, block) => {
    const [rows, blocks] = [6, 2]
    const packed = integers([rows, blocks, (block * bits) / 8], 'u8', 0, 256)
    const scales = floats([rows, blocks], 5, 0.5 / 2 ** bits, 1 / 2 ** bits)
    const x = floats([3, blocks * block], 2)
    const f = engine.jit((v: Tensor) => quantizedMatmul(v, packed, scales))
    const { graph } = trace((v: Tensor) => quantizedMatmul(v, packed, scales), [x])
    const ops = lower(graph, { name: 'q', provider: 'cpu' }).model.nodes.map(({ op }) => op)
    expect(ops).toEqual(['MatMulNBits'])
    const [expected] = interpret(graph, [toNd(x)])
    const actual = toNd(await f(x))
    const largest = Math.max(...expected!.data.map(Math.abs))
    actual.data.forEach((value, i) => {
      expect(Math.abs(value - expected!.data[i]!) / largest).toBeLessThan(activationRounding)
    })
    f.dispose()
  })
  test('nibbles come low first, offset by 8', async () => {
    const values = await engine.compute(
      dequantize(tensor([0x80, 0xf7], [1, 1, 2], 'u8'), tensor([0.5], [1, 1]), { bits: 4, block: 4 }),
    )
    expect([...(values.data as Float32Array)]).toEqual([-4, 0, -0.5, 3.5])
  })
  test('blocks that the operator does not have use the body', async () => {
    const [packed, scales] = [integers([2, 2, 4], 'u8', 0, 256), floats([2, 2], 5, 0.1, 0.2)]
    const { graph } = trace((v: Tensor) => quantizedMatmul(v, packed, scales), [floats([1, 16])])
    const ops = lower(graph, { name: 'q', provider: 'cpu' }).model.nodes.map(({ op }) => op)
    expect(ops).not.toContain('MatMulNBits')
  })
  test('other layouts are refused', () => {
    expect(() => quantizedMatmul(floats([1, 16]), integers([2, 1, 6], 'u8'), floats([2, 1]))).toThrow(
      'quantizedMatmul: 3 bits',
    )
  })
})
