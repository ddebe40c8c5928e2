import { afterAll, describe, expect, test } from 'vitest'
import { callOf, postOrder } from '../../src/array/graph.ts'
import {
  type AxisNames,
  interpret,
  isFloat,
  type PrimitiveName,
  primitives,
  type Tensor,
  trace,
} from '../../src/array/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { cases } from './cases.ts'
import {
  type Case,
  differences,
  differenceTolerance,
  expectClose,
  f32GradTolerance,
  f32Tolerance,
  f64Tolerance,
  gradGraph,
  titleOf,
  toNd,
} from './support.ts'

const engine = new Engine(nodeRuntime({ threads: 2 }))
afterAll(() => engine.dispose())

/** Checks the outputs of a graph on the engine against the interpreter, for several inputs. */
async function compare(
  f: Case['f'],
  argLists: readonly (readonly Tensor[])[],
  axes: readonly (AxisNames | undefined)[] | undefined,
  tolerance: number,
): Promise<void> {
  const { graph } = trace(f, argLists[0]!, axes ? { axes } : {})
  const program = await engine.compile(graph)
  for (const args of argLists) {
    const outputs = await program.run(args)
    const expected = interpret(graph, args.map(toNd))
    outputs.forEach((output, i) => {
      const { dtype } = graph.outputs[i]!.tensor
      expect(output.dtype).toBe(dtype)
      const allowed = dtype === 'f64' ? f64Tolerance : isFloat(dtype) ? tolerance : 0
      expectClose(toNd(output), expected[i]!, allowed, `output ${i} of ${args.join(' ')}`)
    })
  }
  program.dispose()
}

const has = (f: Case['f'], args: readonly Tensor[], name: string): boolean =>
  postOrder(trace(f, args).graph.outputs.map(({ tensor }) => tensor)).some(
    (node) => callOf(node)?.op.name === name,
  )

test('every primitive has cases', () => {
  expect(Object.keys(cases).sort()).toEqual(Object.keys(primitives).sort())
  for (const [key, { name }] of Object.entries(primitives)) expect(name).toBe(key)
})

describe.each(Object.keys(primitives) as PrimitiveName[])('%s', (name) => {
  describe.each(cases[name].map((item) => [titleOf(item), item] as const))('%s', (_, item) => {
    const { f, inputs, axes, sizes = [3], tolerance = f32Tolerance } = item
    const argLists = sizes.map(inputs)
    const floating = argLists[0]!.some(({ dtype }) => isFloat(dtype))
    const derivable = primitives[name].grad !== 'none' && floating && isFloatResult(item)

    test('value, fixed sizes', async () => {
      expect(has(f, argLists[0]!, name) || name === 'size' || name === 'barrier').toBe(true)
      for (const args of argLists) await compare(f, [args], undefined, tolerance)
    })
    if (axes)
      test('value, one program for all sizes', async () => {
        await compare(f, argLists, axes, tolerance)
      })
    if (!derivable) return

    if (item.differences !== false)
      test('gradient against finite differences', () => {
        for (const args of argLists) {
          const { loss, grads } = gradGraph(f, args)
          const values = args.map(toNd)
          const expected = differences(loss, values)
          interpret(grads, values).forEach((grad, i) => {
            expectClose(grad, expected[i]!, differenceTolerance, `gradient ${i}`)
          })
        }
      })
    test('gradient on the engine', async () => {
      const grads = (...args: readonly Tensor[]) => gradGraph(f, args).grads
      for (const args of argLists) {
        const graph = grads(...args)
        const program = await engine.compile(graph)
        const outputs = await program.run(args)
        interpret(graph, args.map(toNd)).forEach((expected, i) => {
          expectClose(toNd(outputs[i]!), expected, f32GradTolerance, `gradient ${i}`)
        })
        program.dispose()
      }
      if (!axes) return
      const graph = gradGraph(f, argLists[0]!, axes).grads
      const program = await engine.compile(graph)
      for (const args of argLists) {
        const outputs = await program.run(args)
        interpret(graph, args.map(toNd)).forEach((expected, i) => {
          expectClose(toNd(outputs[i]!), expected, f32GradTolerance, `gradient ${i}, named axes`)
        })
      }
      program.dispose()
    })
  })
})

function isFloatResult({ f, inputs, sizes }: Case): boolean {
  const outputs = trace(f, inputs((sizes ?? [3])[0]!)).graph.outputs
  return outputs.some(({ tensor: { dtype } }) => isFloat(dtype))
}
