/** Primitives that run a function of their own. */
import { type Shape, sameDim, sameShape, showShape, subtractDims } from '../dim.ts'
import { postOrder } from '../graph.ts'
import { evaluate } from '../interpret.ts'
import { type Aval, type Body, type Emitter, type NdArray, type Primitive, ShapeError } from '../op.ts'
import type { Tensor } from '../tensor.ts'
import { sizeOfArray } from './reference.ts'

export interface ScanAttributes {
  /** From the states before a step, a slice of each sequence and what is around, to the states after it and results. */
  readonly body: Body
  /** How many states there are. */
  readonly states: number
  /** How many sequences. */
  readonly sequences: number
  /** From the last slice to the first. */
  readonly reverse: boolean
}

/** Where the inputs of a scan, or of its body, begin and end. */
export const scanInputs = <T>(inputs: readonly T[], { states, sequences }: ScanAttributes) => ({
  states: inputs.slice(0, states),
  sequences: inputs.slice(states, states + sequences),
  around: inputs.slice(states + sequences),
})

export const loops = {
  /**
   * Applies the body to each slice of the sequences' first axis, which all have, and hands its states on. Inputs:
   * first states, sequences, what the body uses of the graph around. Outputs: last states, stacked results. At least
   * one step: ONNX Runtime 1.30 refuses to run none.
   */
  scan: {
    name: 'scan',
    shape(inputs, attributes) {
      const { body, states } = attributes
      const given = scanInputs(inputs, attributes)
      const own = scanInputs(body.inputs, attributes)
      const length = given.sequences[0]?.shape[0]
      if (length === undefined || length === 0) throw new ShapeError(noSteps(given.sequences))
      given.sequences.forEach(({ shape }, i) => {
        if (
          shape.length === 0 ||
          !sameDim(shape[0]!, length) ||
          !sameShape(shape.slice(1), own.sequences[i]!.shape)
        )
          throw new ShapeError(
            `scan: sequences [${given.sequences.map((x) => showShape(x.shape)).join(', ')}] have no first axis in common`,
          )
      })
      given.states.forEach(({ shape, dtype }, i) => {
        const next = body.outputs[i]!
        if (!sameShape(shape, next.shape) || dtype !== next.dtype)
          throw new ShapeError(
            `scan: state ${i} begins as ${dtype}${showShape(shape)} and a step makes ${next} of it`,
          )
      })
      return body.outputs.map(({ shape, dtype }, i) => ({
        shape: i < states ? shape : ([length, ...shape] as Shape),
        dtype,
      }))
    },
    conditions(inputs, attributes) {
      const { sequences } = scanInputs(inputs, attributes)
      return [[subtractDims(sequences[0]!.shape[0]!, 1), noSteps(sequences)]]
    },
    grad: (cotangents, call) => call.attributes.body.gradient(cotangents, call as never),
    onnx(e, values, { outputs, attributes }) {
      const { body, reverse } = attributes
      const own = scanInputs(body.inputs, attributes)
      const { results, states, sequences } = needed(e, outputs, attributes)
      const given = scanInputs(values, attributes)
      const around = new Map(own.around.map((tensor, i) => [tensor, given.around[i]!]))
      const from = Number(reverse)
      const made = e.loop(
        'Scan',
        [...states.map((i) => given.states[i]!), ...sequences.map((i) => given.sequences[i]!)],
        {
          inputs: [...states.map((i) => own.states[i]!), ...sequences.map((i) => own.sequences[i]!)],
          outputs: [...states, ...results].map((i) => body.outputs[i]!),
          around,
        },
        {
          num_scan_inputs: sequences.length,
          scan_input_directions: sequences.map(() => from),
          scan_output_directions: results.map(() => from),
        },
      )
      const places = new Map([...states, ...results].map((output, i) => [output, made[i]!]))
      return outputs.map((_, i) => places.get(i))
    },
    evaluate(inputs, attributes, outs, bindings) {
      const { body, states, reverse } = attributes
      const given = scanInputs(inputs, attributes)
      const length = given.sequences[0]!.shape[0]!
      const results = outs.slice(states).map(({ shape }) => new Float64Array(sizeOfArray(shape)))
      let current = given.states
      for (let step = 0; step < length; step++) {
        const at = reverse ? length - 1 - step : step
        const values = new Map<Tensor, NdArray>()
        const slices = given.sequences.map((sequence) => sliceAt(sequence, at))
        const arrays = [...current, ...slices, ...given.around]
        body.inputs.forEach((tensor, i) => {
          values.set(tensor, arrays[i]!)
        })
        const made = evaluate(body.outputs, values, bindings)
        current = made.slice(0, states)
        made.slice(states).forEach(({ data }, i) => {
          results[i]!.set(data, at * data.length)
        })
      }
      return [...current, ...results.map((data, i) => ({ shape: outs[states + i]!.shape, data }))]
    },
  } satisfies Primitive<ScanAttributes>,
}

const noSteps = (sequences: readonly Aval[]): string =>
  `scan: no step to take along the first axis of [${sequences.map(({ shape }) => showShape(shape)).join(', ')}]`

function sliceAt({ shape, data }: NdArray, at: number): NdArray {
  const inner = shape.slice(1)
  const size = sizeOfArray(inner)
  return { shape: inner, data: data.slice(at * size, (at + 1) * size) }
}

/**
 * Indices of the results that are used, and of the states and sequences that they and the used states depend on. A
 * gradient has a sum for everything around, of which few are asked for.
 */
function needed(e: Emitter, outputs: readonly Tensor[], attributes: ScanAttributes) {
  const { body, states } = attributes
  const own = scanInputs(body.inputs, attributes)
  const around = new Set(own.around)
  const wanted = new Set(outputs.flatMap((output, i) => (e.needs(output) ? [i] : [])))
  let reached: Set<Tensor>
  for (;;) {
    reached = new Set(
      postOrder(
        [...wanted].map((i) => body.outputs[i]!),
        () => false,
        (node) => around.has(node),
      ),
    )
    const more = own.states.flatMap((state, i) => (reached.has(state) && !wanted.has(i) ? [i] : []))
    if (more.length === 0) break
    for (const i of more) wanted.add(i)
  }
  const sorted = [...wanted].sort((a, b) => a - b)
  const sequences = own.sequences.flatMap((slice, i) => (reached.has(slice) ? [i] : []))
  return {
    states: sorted.filter((i) => i < states),
    results: sorted.filter((i) => i >= states),
    // One is needed in any case: its length is the number of steps.
    sequences: sequences.length > 0 ? sequences : [0],
  }
}
