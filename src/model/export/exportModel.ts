/** A model as ONNX files that any program with ONNX Runtime can run. */
import { statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type Axes, leaves, type Storage, trace } from '../../array/index.ts'
import { exportGraph } from '../../onnx/index.ts'
import { writeAtomic } from '../../store/file.ts'
import type { Model } from '../model.ts'
import { type CacheForm, signature } from './signature.ts'

export interface ExportModelOptions {
  /** Sites that become outputs beside the logits. */
  readonly read?: readonly string[]
  /** How past keys and values come in and go out; `none` by default. */
  readonly cache?: CacheForm
  /** Name of the file with the large weights, beside the model; `NAME.onnx.data` by default. */
  readonly dataFile?: string
  readonly metadata?: Readonly<Record<string, string>>
}

export interface ExportedFiles {
  /** The `.onnx` file, and the file with its large weights if it has any. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly inputs: readonly PortInfo[]
  readonly outputs: readonly PortInfo[]
}
type PortInfo = ReturnType<typeof exportGraph>['inputs'][number]

/**
 * Writes `path`, and a file with the large weights beside it, which the model refers to by name: the two can be
 * moved together. Each file is written whole or not at all.
 */
export function exportModel(model: Model, path: string, options: ExportModelOptions = {}): ExportedFiles {
  const { cache = 'none', read = [], dataFile = `${basename(path)}.data`, metadata = {} } = options
  const { inputs, axes, run } = signature(model, cache, read)
  const { graph } = trace(run, [inputs], { axes: [axes as Axes] })
  const constants = new Map<Storage, string>(
    leaves({ ...model.params, adapters: model.adapters }).map(([name, leaf]) => [leaf.storage, name]),
  )
  const {
    model: bytes,
    data,
    ...ports
  } = exportGraph(graph, {
    name: 'glossa',
    dataFile,
    names: {
      // The only argument is an object: '0.input_ids'.
      inputs: graph.inputs.map(({ name }) => name.slice(2)),
      outputs: graph.outputs.map(({ name }) => name),
      constant: (storage) => constants.get(storage),
    },
    metadata,
  })
  const files = [path]
  if (data.length > 0) {
    const file = join(dirname(path), dataFile)
    files.push(file)
    writeAtomic(file, (put) => {
      let at = 0
      for (const { storage, offset, bytes } of data) {
        put(new Uint8Array(offset - at))
        put(storage.read())
        at = offset + bytes
        // What a file holds can be read again: the whole model need not be in memory.
        if (storage.file) storage.dispose()
      }
    })
  }
  writeAtomic(path, (put) => put(bytes))
  return { files: files.map((file) => ({ path: file, bytes: statSync(file).size })), ...ports }
}
