/** The reference interpreter: runs a graph in plain JavaScript and float64. For tests; slow on purpose. */
import { type Bindings, evaluateDim, evaluateShape, symbolName } from './dim.ts'
import { decode } from './dtype.ts'
import { callOf, conditionsOf, type Graph, postOrder } from './graph.ts'
import type { Call, NdArray } from './op.ts'
import type { Tensor } from './tensor.ts'

/** The values that axis symbols take when inputs have these shapes. Throws where shapes do not fit. */
export function bindSymbols(
  inputs: readonly { readonly name: string; readonly tensor: Tensor }[],
  shapes: readonly (readonly number[])[],
): Map<string, number> {
  const bindings = new Map<string, number>()
  const sums: (() => void)[] = []
  for (const [i, { name, tensor }] of inputs.entries()) {
    const given = shapes[i]
    const fail = (why: string): Error =>
      new Error(`input '${name}' is ${tensor}, got [${given?.join(', ')}]${why}`)
    if (given?.length !== tensor.rank) throw fail('')
    for (const [axis, dim] of tensor.shape.entries()) {
      const size = given[axis]!
      const symbol = symbolName(dim)
      if (typeof dim === 'number') {
        if (dim !== size) throw fail('')
      } else if (symbol === undefined)
        sums.push(() => {
          const expected = evaluateDim(dim, bindings)
          if (size !== expected) throw fail(`: '${dim}' is ${expected}`)
        })
      else if ((bindings.get(symbol) ?? size) !== size)
        throw fail(`: '${symbol}' is ${bindings.get(symbol)} elsewhere`)
      else bindings.set(symbol, size)
    }
  }
  for (const check of sums) check()
  return bindings
}

/** Runs a graph; fused operations by their bodies. */
export function interpret(graph: Graph, inputs: readonly NdArray[]): NdArray[] {
  const bindings: Bindings = bindSymbols(
    graph.inputs,
    inputs.map(({ shape }) => shape),
  )
  for (const { dim, text } of conditionsOf(graph))
    if (evaluateDim(dim, bindings) < 0) throw new RangeError(text)
  const values = new Map<Tensor, NdArray>()
  graph.inputs.forEach(({ tensor }, i) => {
    values.set(tensor, inputs[i]!)
  })
  return evaluate(
    graph.outputs.map(({ tensor }) => tensor),
    values,
    bindings,
  )
}

/** Arrays of `outputs`, from those in `values`, to which it adds all in between. */
export function evaluate(
  outputs: readonly Tensor[],
  values: Map<Tensor, NdArray>,
  bindings: Bindings,
): NdArray[] {
  const inlined = (call: Call): boolean => call.expansion !== undefined
  for (const node of postOrder(outputs, inlined, (node) => values.has(node))) {
    const { source } = node
    if (source.kind === 'input') throw new Error(`'${source.name}' is used but is no input of the graph`)
    if (source.kind === 'value') {
      const elements = Array.from(node.data as Iterable<number | bigint>, (item) => decode(item, node.dtype))
      values.set(node, { shape: node.sizes, data: Float64Array.from(elements) })
      continue
    }
    const call = callOf(node)!
    const results = call.expansion
      ? call.expansion.map((tensor) => values.get(tensor)!)
      : call.op.evaluate!(
          call.inputs.map((input) => values.get(input)!),
          substitute(call.attributes, bindings),
          call.outputs.map(({ shape, dtype }) => ({ shape: evaluateShape(shape, bindings), dtype })),
          bindings,
        )
    call.outputs.forEach((output, i) => {
      values.set(output, results[i]!)
    })
  }
  return outputs.map((output) => values.get(output)!)
}

/** Attributes with their symbolic sizes replaced by numbers. */
function substitute(attributes: object, bindings: Bindings): Record<string, never> {
  const number = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(number)
      : typeof value === 'object' && value !== null
        ? evaluateShape([value as never], bindings)[0]
        : value
  return Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => [key, key === 'body' ? value : number(value)]),
  ) as never
}
