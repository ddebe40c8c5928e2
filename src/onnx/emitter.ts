/** Writing the ONNX nodes of a graph, and of the graphs that its nodes run. */
import type { Dim, Shape } from '../array/dim.ts'
import { bytesPerElement, type DType, encode, type TypedArray, typedArray } from '../array/dtype.ts'
import { opened, postOrder } from '../array/graph.ts'
import type { Body, Call, Emitter, NodeAttributes, Value } from '../array/op.ts'
import type { Storage } from '../array/storage.ts'
import type { Tensor } from '../array/tensor.ts'
import { dataType, type OnnxNode, type OnnxTensor, type OnnxValueInfo, type TensorBytes } from './proto.ts'

/** Constants of this many bytes or more are kept out of the model's protobuf. */
const inlineBytes = 1024

export interface EmitterSettings {
  readonly provider: string
  /** Where each axis symbol is found: an input, and which of its axes. */
  readonly symbols: ReadonlyMap<string, { readonly input: Value; readonly axis: number }>
  /** Decides where the bytes of a large constant are found; by default they stay in the model. */
  readonly place?: ((storage: Storage) => TensorBytes) | undefined
  /** Names of large constants. */
  readonly constantName?: ((storage: Storage) => string | undefined) | undefined
}

const bytesOf = (data: TypedArray): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

export class OnnxEmitter implements Emitter {
  readonly nodeList: OnnxNode[] = []
  readonly initializers: OnnxTensor[] = []
  readonly values = new Map<Tensor, Value>()
  /** Outputs that an operator writes over one of its inputs. */
  readonly overwritten = new Map<Tensor, Tensor>()
  readonly #settings: EmitterSettings
  /** The emitter of the whole model. It has all constants and sizes: the graphs that nodes run can use them. */
  readonly #root: OnnxEmitter
  readonly #constants = new Map<string, Value>()
  readonly #sizes = new Map<string, Value>()
  readonly #needed = new Set<Tensor>()
  #inlined: ReadonlySet<Call> = new Set()
  #next = 0
  /** Names the nodes of the operation being emitted, so that a profile can be read. */
  #scope = ''

  constructor(settings: EmitterSettings, root?: OnnxEmitter) {
    this.#settings = settings
    this.#root = root ?? this
  }

  get provider(): string {
    return this.#settings.provider
  }

  /** Emits what `targets` are computed from, up to what has a value already. */
  emitAll(targets: readonly Tensor[]): void {
    this.#inlined = opened(targets, (node) => this.values.has(node))
    this.#emit(targets)
  }

  // Fused operations that the provider does not have are replaced by their bodies as they come up.
  #emit(targets: readonly Tensor[]): void {
    const order = postOrder(
      targets,
      (call) => this.#inlined.has(call),
      (node) => this.values.has(node),
    )
    for (const node of order) this.#needed.add(node)
    for (const node of order) {
      if (this.values.has(node)) continue
      const { source } = node
      if (source.kind === 'input') throw new Error(`'${source.name}' is used but is no input of the graph`)
      if (source.kind === 'value') {
        this.values.set(node, this.#root.#stored(source.storage))
        continue
      }
      const { call } = source
      if (this.#emitCall(call)) continue
      if (!call.expansion) throw new Error(`${call.op.name}: no ONNX form on '${this.provider}'`)
      this.#emit(call.expansion)
      call.outputs.forEach((output, i) => {
        this.values.set(output, this.values.get(call.expansion![i]!)!)
      })
    }
  }

  #emitCall(call: Call): boolean {
    const inputs = call.inputs.map((input) => this.values.get(input)!)
    this.#scope = call.op.name
    const results = this.#inlined.has(call) ? undefined : call.op.onnx(this, inputs, call)
    if (!results) return false
    call.outputs.forEach((output, i) => {
      const value = results[i]
      if (value === undefined) return
      this.values.set(output, value)
      const from = call.op.overwrites?.[i]
      if (call.expansion && from !== undefined) this.overwritten.set(output, call.inputs[from]!)
    })
    return true
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
    return this.#add({ op, domain, inputs }, outputs, attributes)
  }

  loop(
    op: string,
    inputs: readonly Value[],
    body: Pick<Body, 'inputs' | 'outputs'> & { readonly around: ReadonlyMap<Tensor, Value> },
    attributes: NodeAttributes,
  ): Value[] {
    const inner = new OnnxEmitter(this.#settings, this.#root)
    for (const [tensor, value] of body.around) inner.values.set(tensor, value)
    const ports = body.inputs.map((tensor) => valueInfo(this.#fresh(), tensor))
    body.inputs.forEach((tensor, i) => {
      inner.values.set(tensor, ports[i]!.name)
    })
    inner.emitAll(body.outputs)
    const ends = body.outputs.map((tensor) => valueInfo(this.#fresh(), tensor))
    const nodes = nameOutputs(
      inner.nodeList,
      body.outputs.map((tensor) => inner.values.get(tensor)!),
      ends.map(({ name }) => name),
    )
    const graph = { name: `${this.#scope}/${op}/body`, nodes, initializers: [], inputs: ports, outputs: ends }
    return this.#add({ op, domain: '', inputs, body: graph }, body.outputs.length, attributes)
  }

  #add(
    node: Pick<OnnxNode, 'op' | 'domain' | 'body'> & { readonly inputs: readonly (Value | undefined)[] },
    outputs: number,
    attributes: NodeAttributes,
  ): Value[] {
    const names = Array.from({ length: outputs }, () => this.#fresh())
    this.nodeList.push({
      ...node,
      name: `${this.#scope}/${node.op}/${this.nodeList.length}`,
      inputs: node.inputs.map((input) => input ?? ''),
      outputs: names,
      attributes: Object.entries(attributes).flatMap(([name, value]) => {
        if (value === undefined) return []
        const data = typeof value === 'object' && 'dtype' in value ? dataType[value.dtype] : value
        return [{ name, value: data }]
      }),
    })
    return names
  }

  #fresh(kind: 'v' | 'c' = 'v'): Value {
    return `${kind}${this.#root.#next++}`
  }

  constant(dtype: DType, shape: readonly number[], data: TypedArray): Value {
    if (this.#root !== this) return this.#root.constant(dtype, shape, data)
    const bytes = bytesOf(data)
    const key = `${dtype}[${shape}]${bytes.length <= 128 ? bytes.join() : `#${this.#next}`}`
    return this.#memo(this.#constants, key, () => this.#initializer(dtype, shape, { raw: bytes }))
  }

  #initializer(dtype: DType, shape: readonly number[], bytes: TensorBytes, name = this.#fresh('c')): Value {
    this.initializers.push({ name, dtype, shape, bytes })
    return name
  }

  /** An array that the graph has captured. */
  #stored(storage: Storage): Value {
    const { place, constantName } = this.#settings
    const { dtype, shape } = storage
    const bytes = shape.reduce((a, b) => a * b, 1) * bytesPerElement[dtype]
    return bytes < inlineBytes || !place
      ? this.constant(dtype, shape, storage.read())
      : this.#initializer(dtype, shape, place(storage), constantName?.(storage))
  }

  scalar(value: number, dtype: DType): Value {
    const data = typedArray(dtype, 1)
    data[0] = encode(value, dtype) as never
    return this.constant(dtype, [], data)
  }

  dims(shape: Shape): Value {
    if (this.#root !== this) return this.#root.dims(shape)
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

  needs(tensor: Tensor): boolean {
    return this.#needed.has(tensor)
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
      const found = this.#settings.symbols.get(name)
      if (!found) throw new Error(`the axis symbol '${name}' is not the size of any input's axis`)
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

export const valueInfo = (name: Value, { shape, dtype }: Tensor): OnnxValueInfo => ({
  name,
  dtype,
  shape: shape.map((dim) => (typeof dim === 'number' ? dim : dim.toString())),
})

/** What a node reads, the graph that it runs included. */
export const readsOf = ({ inputs, body }: OnnxNode): readonly Value[] =>
  body ? [...inputs, ...body.nodes.flatMap(readsOf)] : inputs

/**
 * Outputs need names of their own: the node that makes a value takes the output's name; inputs, constants and
 * values that are two outputs are copied.
 */
export function nameOutputs(
  nodes: readonly OnnxNode[],
  outputs: readonly Value[],
  names: readonly Value[],
): OnnxNode[] {
  const live = withoutDead(nodes, outputs)
  const made = new Set(live.flatMap((node) => node.outputs))
  const renamed = new Map<Value, Value>()
  const copies: OnnxNode[] = []
  outputs.forEach((value, i) => {
    const name = names[i]!
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
  return [...live, ...copies].map((node) => rename(node, renamed))
}

/** Nodes that the outputs need: a loop may turn out not to read all that was computed for it. */
function withoutDead(nodes: readonly OnnxNode[], outputs: readonly Value[]): OnnxNode[] {
  const read = new Set(outputs)
  const live = nodes.toReversed().filter((node) => {
    const wanted = node.outputs.some((output) => read.has(output))
    if (wanted) for (const value of readsOf(node)) read.add(value)
    return wanted
  })
  return live.reverse()
}

function rename(node: OnnxNode, names: ReadonlyMap<Value, Value>): OnnxNode {
  const own = (values: readonly Value[]): Value[] => values.map((value) => names.get(value) ?? value)
  return {
    ...node,
    inputs: own(node.inputs),
    outputs: own(node.outputs),
    ...(node.body && {
      body: { ...node.body, nodes: node.body.nodes.map((inner) => rename(inner, names)) },
    }),
  }
}
