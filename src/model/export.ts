/** A model as ONNX files that any program with ONNX Runtime can run. */
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { type Axes, leaves, type Storage, type Tensor, tensor, trace, unflatten } from '../array/index.ts'
import { exportGraph } from '../onnx/index.ts'
import { writeAtomic } from '../store/file.ts'
import { type Cache, cacheAxes } from './cache.ts'
import { forward } from './decoder.ts'
import type { Model } from './model.ts'
import { rotaryTables } from './parts/position.ts'
import { Taps } from './taps.ts'

export interface ExportModelOptions {
  /** Sites that become outputs beside the logits. */
  readonly read?: readonly string[]
  /** One pass with a cache of past keys and values, for generation, instead of a whole sequence. */
  readonly cache?: boolean
  readonly metadata?: Readonly<Record<string, string>>
}

export interface ExportedFiles {
  /** The `.onnx` file, and the `.data` file with its large weights if it has any. */
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly inputs: readonly PortInfo[]
  readonly outputs: readonly PortInfo[]
}
type PortInfo = ReturnType<typeof exportGraph>['inputs'][number]

type Named = Readonly<Record<string, Tensor>>

/** Ids and counts are int64 outside, as every runner feeds them, and i32 inside. */
const long = (shape: readonly number[]): Tensor =>
  tensor(new BigInt64Array(shape.reduce((a, b) => a * b, 1)), shape)

interface Signature {
  /** Examples of the inputs: types, and the sizes of axes that have no name. */
  readonly inputs: Named
  readonly axes: Readonly<Record<string, Axes>>
  run(inputs: Named): Named
}

/**
 * Without a cache: input_ids [batch, sequence] -> logits [batch, sequence, vocab], and the sites read. With it:
 * also lengths [batch], tokens that each row has in the cache; at [batch], the position in input_ids whose logits
 * are wanted, [batch, 1, vocab]; and past.N.key and past.N.value [batch, heads, capacity, size], of which
 * present.N.key and present.N.value are the continuation (past.N.conv [batch, kernel - 1, inner] and past.N.state
 * [batch, inner, state] where a layer has a state, and no lengths where there are no positions). Rows may be padded at
 * the end.
 */
function signature(model: Model, { read = [], cache = false }: ExportModelOptions): Signature {
  const { spec, adaptedParams: params } = model
  if (cache && model.prefixLength > 0)
    throw new Error(
      'a model with a prefix cannot be exported with a cache, which would have to hold the prefix',
    )
  const rotary = rotaryTables(spec, model.positions)
  const sites = [...new Set([...(model.taps.read ?? []), ...read])]
  const taps = new Taps(spec, { read: sites, edit: model.taps.edit ?? {} })
  // In the order in which they were asked for.
  const reads = (): Named => {
    const values = taps.finish()
    return Object.fromEntries(sites.map((site) => [site, values[site]!]))
  }
  const ids = { input_ids: long([1, 1]) }
  const idAxes = { input_ids: ['batch', 'sequence'] }
  if (!cache)
    return {
      inputs: ids,
      axes: idAxes,
      run(inputs) {
        const { logits } = forward(spec, params, { tokens: inputs.input_ids!.cast('i32') }, rotary, taps)
        return { logits, ...reads() }
      },
    }
  const layers = model.newCache(1, 1)
  const past = portsOf(layers, 'past')
  const pastAxes = cacheAxes(spec)
  return {
    inputs: { ...ids, lengths: long([1]), at: long([1]), ...Object.fromEntries(past) },
    axes: {
      ...idAxes,
      lengths: ['batch'],
      at: ['batch'],
      ...Object.fromEntries(past.map(([name]) => [name, pastAxes[Number(name.split('.')[1])]!])),
    },
    run(inputs) {
      const result = forward(
        spec,
        params,
        {
          tokens: inputs.input_ids!.cast('i32'),
          past: {
            cache: unflatten(
              layers,
              past.map(([name]) => inputs[name]!),
            ),
            lengths: inputs.lengths!.cast('i32'),
          },
          at: inputs.at!.cast('i32'),
        },
        rotary,
        taps,
      )
      const present = portsOf(result.cache!, 'present')
      return { logits: result.logits, ...reads(), ...Object.fromEntries(present) }
    },
  }
}

/** The tensors of a cache under the names that others know: past.0.key, past.0.value ... */
const portsOf = (cache: Cache, prefix: string): [name: string, tensor: Tensor][] =>
  leaves(cache).map(([path, leaf]) => [`${prefix}.${path.replace(/s$/, '')}`, leaf])

/**
 * Writes `path`, and `path.data` with the large weights beside it, which the model refers to by name: the two
 * can be moved together. Each file is written whole or not at all.
 */
export function exportModel(model: Model, path: string, options: ExportModelOptions = {}): ExportedFiles {
  const { inputs, axes, run } = signature(model, options)
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
    dataFile: `${basename(path)}.data`,
    names: {
      // The only argument is an object: '0.input_ids'.
      inputs: graph.inputs.map(({ name }) => name.slice(2)),
      outputs: graph.outputs.map(({ name }) => name),
      constant: (storage) => constants.get(storage),
    },
    metadata: options.metadata ?? {},
  })
  const files = [path]
  if (data.length > 0) {
    files.push(`${path}.data`)
    writeAtomic(`${path}.data`, (put) => {
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
