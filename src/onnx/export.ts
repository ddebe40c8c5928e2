/**
 * A graph as an ONNX model for other programs: operators of the standard, names that people read, large constants
 * in a file beside it. Only rounded weights (MatMulNBits) and caches (GroupQueryAttention) need operators of ONNX
 * Runtime's own.
 */
import { bytesPerElement } from '../array/dtype.ts'
import type { Graph } from '../array/graph.ts'
import type { Storage } from '../array/storage.ts'
import { lower, type ValueNames } from './lower.ts'
import { encodeModel, type OnnxValueInfo } from './proto.ts'

export interface ExportOptions {
  readonly name: string
  readonly names: ValueNames
  /** Name of the file with the large constants, in the same folder. */
  readonly dataFile: string
  readonly metadata: Readonly<Record<string, string>>
}

export interface ExportedGraph {
  /** The contents of the `.onnx` file. */
  readonly model: Uint8Array
  /** What the file beside it holds, by ascending offset; zeros are between. */
  readonly data: readonly { readonly storage: Storage; readonly offset: number; readonly bytes: number }[]
  readonly inputs: readonly OnnxValueInfo[]
  readonly outputs: readonly OnnxValueInfo[]
}

/** Pages are mapped whole: a tensor that begins on one can be used where it lies. */
const page = 4096

export function exportGraph(graph: Graph, options: ExportOptions): ExportedGraph {
  const { name, names, dataFile, metadata } = options
  const data: ExportedGraph['data'][number][] = []
  let end = 0
  const taken = new Set<string>()
  const lowered = lower(graph, {
    name,
    provider: 'onnx',
    names: {
      ...names,
      // The same contents may come as two constants.
      constant(storage) {
        const wanted = names.constant?.(storage)
        if (wanted === undefined || taken.has(wanted)) return undefined
        taken.add(wanted)
        return wanted
      },
    },
    place(storage) {
      const bytes = storage.shape.reduce((a, b) => a * b, 1) * bytesPerElement[storage.dtype]
      const offset = Math.ceil(end / page) * page
      end = offset + bytes
      data.push({ storage, offset, bytes })
      return { location: dataFile, offset, length: bytes }
    },
  })
  const { inputs, outputs } = lowered.model
  return { model: encodeModel({ ...lowered.model, metadata }), data, inputs, outputs }
}
