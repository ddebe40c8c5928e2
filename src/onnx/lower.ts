/** From a traced graph to one ONNX model. */
import { symbolName } from '../array/dim.ts'
import { callOf, type Graph } from '../array/graph.ts'
import type { Value } from '../array/op.ts'
import type { Storage } from '../array/storage.ts'
import type { Tensor } from '../array/tensor.ts'
import { nameOutputs, OnnxEmitter, readsOf, valueInfo } from './emitter.ts'
import type { OnnxModel, OnnxNode, OnnxValueInfo, TensorBytes } from './proto.ts'

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

/** Lowers a graph. Captured tensors become initialisers; unused inputs are left out. */
export function lower(graph: Graph, options: LowerOptions): Lowered {
  const { names } = options
  for (const [output, input] of graph.inPlace ?? []) checkPair(graph.outputs[output]!, graph.inputs[input]!)
  const inputNames = graph.inputs.map((_, i) => names?.inputs[i] ?? inputName(i))
  const outputNames = graph.outputs.map((_, i) => names?.outputs[i] ?? outputName(i))
  const symbols = new Map<string, { input: Value; axis: number }>()
  graph.inputs.forEach(({ tensor }, i) => {
    tensor.shape.forEach((dim, axis) => {
      const name = symbolName(dim)
      if (name !== undefined && !symbols.has(name)) symbols.set(name, { input: inputNames[i]!, axis })
    })
  })
  const emitter = new OnnxEmitter({
    provider: options.provider,
    symbols,
    place: options.place,
    constantName: names?.constant,
  })
  graph.inputs.forEach(({ tensor }, i) => {
    emitter.values.set(tensor, inputNames[i]!)
  })
  const outputs = graph.outputs.map(({ tensor }) => tensor)
  emitter.emitAll(outputs)

  const nodes = nameOutputs(
    emitter.nodeList,
    outputs.map((tensor) => emitter.values.get(tensor)!),
    outputNames,
  )
  const read = new Set(nodes.flatMap(readsOf))
  const used = graph.inputs.flatMap((_, i) => (read.has(inputNames[i]!) ? [i] : []))
  const inPlace = new Map(
    [...(graph.inPlace ?? [])].filter(([output, input]) => {
      const from = emitter.overwritten.get(resolveIdentity(graph.outputs[output]!.tensor))
      return (
        from !== undefined &&
        resolveIdentity(from) === graph.inputs[input]!.tensor &&
        readers(nodes, inputNames[input]!) === 1
      )
    }),
  )
  return {
    model: {
      name: options.name,
      nodes,
      initializers: emitter.initializers,
      inputs: used.map((i) => valueInfo(inputNames[i]!, graph.inputs[i]!.tensor)),
      outputs: graph.outputs.map(({ tensor }, i) => valueInfo(outputNames[i]!, tensor)),
    },
    used,
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
  nodes.filter((node) => node.op !== 'Shape' && readsOf(node).includes(value)).length
