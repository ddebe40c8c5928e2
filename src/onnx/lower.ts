/** From a traced graph to one ONNX model. */
import { type Dim, type Shape, symbolName } from '../array/dim.ts'
import { bytesPerElement, type DType, encode, type TypedArray, typedArray } from '../array/dtype.ts'
import { callOf, type Graph, opened, postOrder } from '../array/graph.ts'
import type { Call, Emitter, NodeAttributes, Value } from '../array/op.ts'
import type { Storage } from '../array/storage.ts'
import type { Tensor } from '../array/tensor.ts'
import {
  dataType,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  type TensorBytes,
} from './proto.ts'

/** Constants of this many bytes or more are kept out of the model's protobuf. */
const inlineBytes = 1024

export interface LowerOptions {
  readonly name: string
  readonly provider: string
  /** Decides where the bytes of a large constant are found; by default they stay in the model. */
  readonly place?: (storage: Storage) => TensorBytes
  readonly names?: ValueNames
}

/** Names for a model that others read; none may look like `v1` or `c1`. */
export interface ValueNames {
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  /** Names of large constants. */
  readonly constant?: (storage: Storage) => string | undefined
}

export interface Lowered {
  readonly model: OnnxModel & Record<'inputs' | 'outputs', readonly OnnxValueInfo[]>
  /** Graph inputs that the program uses, by index; others are not fed. */
  readonly used: readonly number[]
  /** Outputs that their operator really writes over an input. */
  readonly inPlace: ReadonlyMap<number, number>
}

export const inputName = (index: number): string => `input_${index}`
export const outputName = (index: number): string => `output_${index}`

const bytesOf = (data: TypedArray): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

class OnnxEmitter implements Emitter {
  readonly provider: string
  readonly nodeList: OnnxNode[] = []
  readonly initializers: OnnxTensor[] = []
  readonly #constants = new Map<string, Value>()
  readonly #sizes = new Map<string, Value>()
  readonly #symbols: ReadonlyMap<string, { input: Value; axis: number }>
  readonly #usedInput: (input: Value) => void
  #next = 0
  /** Names the nodes of the operation being emitted, so that a profile can be read. */
  scope = ''

  constructor(
    provider: string,
    symbols: ReadonlyMap<string, { input: Value; axis: number }>,
    usedInput: (input: Value) => void,
  ) {
    this.provider = provider
    this.#symbols = symbols
    this.#usedInput = usedInput
  }

  node(
    op: string,
    inputs: readonly (Value | undefined)[],
    attributes: NodeAttributes = {},
    domain = '',
  ): Value {
    return this.nodes(op, inputs, 1, attributes, domain)[0]!
  }

  nodes(
    op: string,
    inputs: readonly (Value | undefined)[],
    outputs: number,
    attributes: NodeAttributes = {},
    domain = '',
  ): Value[] {
    const names = Array.from({ length: outputs }, () => `v${this.#next++}`)
    this.nodeList.push({
      op,
      domain,
      name: `${this.scope}/${op}/${this.nodeList.length}`,
      inputs: inputs.map((input) => input ?? ''),
      outputs: names,
      attributes: Object.entries(attributes).flatMap(([name, value]) => {
        if (value === undefined) return []
        const data = typeof value === 'object' && 'dtype' in value ? dataType[value.dtype] : value
        return [{ name, value: data }]
      }),
    })
    return names
  }

  constant(dtype: DType, shape: readonly number[], data: TypedArray): Value {
    const bytes = bytesOf(data)
    const key = `${dtype}[${shape}]${bytes.length <= 128 ? bytes.join() : `#${this.#next}`}`
    return this.#memo(this.#constants, key, () => this.initializer(dtype, shape, { raw: bytesOf(data) }))
  }

  initializer(dtype: DType, shape: readonly number[], bytes: TensorBytes, name = `c${this.#next++}`): Value {
    this.initializers.push({ name, dtype, shape, bytes })
    return name
  }

  scalar(value: number, dtype: DType): Value {
    const data = typedArray(dtype, 1)
    data[0] = encode(value, dtype) as never
    return this.constant(dtype, [], data)
  }

  dims(shape: Shape): Value {
    if (shape.every((dim) => typeof dim === 'number'))
      return this.constant('i64', [shape.length], BigInt64Array.from(shape as number[], BigInt))
    const parts: Value[] = []
    let run: number[] = []
    const flush = (): void => {
      if (run.length > 0) parts.push(this.dims(run))
      run = []
    }
    for (const dim of shape) {
      if (typeof dim === 'number') run.push(dim)
      else {
        flush()
        parts.push(this.#size(dim))
      }
    }
    flush()
    return this.#memo(this.#sizes, `[${shape}]`, () =>
      parts.length === 1 ? parts[0]! : this.node('Concat', parts, { axis: 0 }),
    )
  }

  isConstant(tensor: Tensor): boolean {
    return tensor.source.kind === 'value'
  }

  /** A symbolic size as an i64[1] value. */
  #size(dim: Exclude<Dim, number>): Value {
    return this.#memo(this.#sizes, dim.toString(), () => {
      const terms = [...dim.terms].map(([monomial, factor]) => {
        const factors = monomial
          .split('*')
          .filter(Boolean)
          .map((name) => this.#symbol(name))
        if (factor !== 1 || factors.length === 0) factors.push(this.dims([factor]))
        return factors.reduce((a, b) => this.node('Mul', [a, b]))
      })
      return terms.reduce((a, b) => this.node('Add', [a, b]))
    })
  }

  #symbol(name: string): Value {
    return this.#memo(this.#sizes, name, () => {
      const found = this.#symbols.get(name)
      if (!found) throw new Error(`the axis symbol '${name}' is not the size of any input's axis`)
      this.#usedInput(found.input)
      return this.node('Shape', [found.input], { start: found.axis, end: found.axis + 1 })
    })
  }

  #memo(map: Map<string, Value>, key: string, make: () => Value): Value {
    const known = map.get(key)
    if (known !== undefined) return known
    const value = make()
    map.set(key, value)
    return value
  }
}

const valueInfo = (name: Value, { shape, dtype }: Tensor): OnnxValueInfo => ({
  name,
  dtype,
  shape: shape.map((dim) => (typeof dim === 'number' ? dim : dim.toString())),
})

/** Lowers a graph. Captured tensors become initialisers; unused inputs are left out. */
export function lower(graph: Graph, options: LowerOptions): Lowered {
  const { names } = options
  for (const [output, input] of graph.inPlace ?? []) checkPair(graph.outputs[output]!, graph.inputs[input]!)
  const nameOfInput = (i: number): string => names?.inputs[i] ?? inputName(i)
  const nameOfOutput = (i: number): string => names?.outputs[i] ?? outputName(i)
  const values = new Map<Tensor, Value>()
  const symbols = new Map<string, { input: Value; axis: number }>()
  const used = new Set<Value>()
  graph.inputs.forEach(({ tensor }, i) => {
    values.set(tensor, nameOfInput(i))
    tensor.shape.forEach((dim, axis) => {
      const name = symbolName(dim)
      if (name !== undefined && !symbols.has(name)) symbols.set(name, { input: nameOfInput(i), axis })
    })
  })
  const emitter = new OnnxEmitter(options.provider, symbols, (input) => used.add(input))
  const outputs = graph.outputs.map(({ tensor }) => tensor)
  const inlined = opened(outputs)
  const overwritten = new Map<Tensor, Tensor>()

  const constant = (storage: Storage): Value => {
    const bytes = storage.shape.reduce((a, b) => a * b, 1) * bytesPerElement[storage.dtype]
    const inline = bytes < inlineBytes || !options.place
    return inline
      ? emitter.constant(storage.dtype, storage.shape, storage.read())
      : emitter.initializer(storage.dtype, storage.shape, options.place!(storage), names?.constant?.(storage))
  }

  const emitCall = (call: Call): boolean => {
    const inputs = call.inputs.map((input) => values.get(input)!)
    emitter.scope = call.op.name
    const results = inlined.has(call) ? undefined : call.op.onnx(emitter, inputs, call)
    if (!results) return false
    call.outputs.forEach((output, i) => {
      values.set(output, results[i]!)
      const from = call.op.overwrites?.[i]
      if (call.expansion && from !== undefined) overwritten.set(output, call.inputs[from]!)
    })
    return true
  }

  // Fused operations that the provider does not have are replaced by their bodies as they come up.
  const emit = (targets: readonly Tensor[]): void => {
    const order = postOrder(
      targets,
      (call) => inlined.has(call),
      (node) => values.has(node),
    )
    for (const node of order) {
      if (values.has(node)) continue
      const { source } = node
      if (source.kind === 'input') throw new Error(`'${source.name}' is used but is no input of the graph`)
      if (source.kind === 'value') {
        values.set(node, constant(source.storage))
        continue
      }
      const { call } = source
      if (emitCall(call)) continue
      if (!call.expansion) throw new Error(`${call.op.name}: no ONNX form on '${options.provider}'`)
      emit(call.expansion)
      call.outputs.forEach((output, i) => {
        values.set(output, values.get(call.expansion![i]!)!)
      })
    }
  }
  emit(outputs)

  const nodes = nameOutputs(
    emitter.nodeList,
    graph.outputs.map(({ tensor }) => values.get(tensor)!),
    nameOfOutput,
  )
  for (const node of nodes) for (const input of node.inputs) used.add(input)
  const usedInputs = graph.inputs.flatMap((_, i) => (used.has(nameOfInput(i)) ? [i] : []))
  const inPlace = new Map(
    [...(graph.inPlace ?? [])].filter(([output, input]) => {
      const from = overwritten.get(resolveIdentity(graph.outputs[output]!.tensor))
      return (
        from !== undefined &&
        resolveIdentity(from) === graph.inputs[input]!.tensor &&
        readers(nodes, nameOfInput(input)) === 1
      )
    }),
  )
  return {
    model: {
      name: options.name,
      nodes,
      initializers: emitter.initializers,
      inputs: usedInputs.map((i) => valueInfo(nameOfInput(i), graph.inputs[i]!.tensor)),
      outputs: graph.outputs.map(({ tensor }, i) => valueInfo(nameOfOutput(i), tensor)),
    },
    used: usedInputs,
    inPlace,
  }
}

function resolveIdentity(tensor: Tensor): Tensor {
  let node = tensor
  for (let call = callOf(node); call?.op.name === 'identity'; call = callOf(node)) node = call.inputs[0]!
  return node
}

type Named = Graph['inputs'][number]

function checkPair(result: Named, given: Named): void {
  if (`${result.tensor}` !== `${given.tensor}`)
    throw new Error(
      `inPlace: the result '${result.name}' is ${result.tensor}, the argument '${given.name}' is ${given.tensor}`,
    )
}

/** Nodes that read a value's elements: if there are others, none may write over it. */
const readers = (nodes: readonly OnnxNode[], value: Value): number =>
  nodes.filter(({ op, inputs }) => op !== 'Shape' && inputs.includes(value)).length

/**
 * Outputs need names of their own: the node that makes a value takes the output's name; inputs, constants and
 * values that are two outputs are copied.
 */
function nameOutputs(
  nodes: readonly OnnxNode[],
  outputs: readonly Value[],
  nameOf: (index: number) => string,
): OnnxNode[] {
  const made = new Set(nodes.flatMap((node) => node.outputs))
  const renamed = new Map<Value, Value>()
  const copies: OnnxNode[] = []
  outputs.forEach((value, i) => {
    const name = nameOf(i)
    if (made.has(value) && !renamed.has(value)) renamed.set(value, name)
    else
      copies.push({
        op: 'Identity',
        domain: '',
        name: `output/Identity/${i}`,
        inputs: [value],
        outputs: [name],
        attributes: [],
      })
  })
  const rename = (names: readonly Value[]): Value[] => names.map((name) => renamed.get(name) ?? name)
  return [...nodes, ...copies].map((node) => ({
    ...node,
    inputs: rename(node.inputs),
    outputs: rename(node.outputs),
  }))
}
