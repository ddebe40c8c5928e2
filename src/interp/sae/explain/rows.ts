/** Where rows of activations come from, with their places in the corpus; and what reads features of them. */
import { type Tensor, tensor } from '../../../array/index.ts'
import type { Engine } from '../../../onnx/index.ts'
import type { ActivationSource } from '../../activations/index.ts'
import { encode, keepLargest, type Sae } from '../sae.ts'
import type { FeatureReader } from './contexts.ts'

/** Rows in the order of the corpus. */
export interface PlacedRows {
  readonly chunks: number
  readonly at: (chunk: number) => Promise<{
    /** [places, width] */
    readonly rows: Float32Array
    /** Positions in the corpus; -1 for a token that is not of it. */
    readonly places: Int32Array
  }>
}

/** Rows of a site as the model gives them; of a source in order. */
export const rowsOfSource = (source: ActivationSource, site: string): PlacedRows => ({
  chunks: source.chunks,
  at: async (chunk) => ({ rows: (await source.at(chunk)).rows[site]!, places: source.places(chunk) }),
})

/** What is read of a cache (`ActivationCache`). */
interface CachedRows {
  readonly rows: number
  read(site: string, rows: ArrayLike<number>): Float32Array
  places(from: number, to: number): Int32Array
}

/** Rows `from` to `to` of a site in a cache. */
export const rowsOfCache = (
  cache: CachedRows,
  site: string,
  { from = 0, to = cache.rows, chunk = 2048 } = {},
): PlacedRows => ({
  chunks: Math.ceil((to - from) / chunk),
  at: async (index) => {
    const first = from + index * chunk
    const last = Math.min(to, first + chunk)
    return {
      rows: cache.read(
        site,
        Array.from({ length: last - first }, (_, i) => first + i),
      ),
      places: cache.places(first, last),
    }
  },
})

/** A reader, and its program. */
export type OwnedReader = FeatureReader & Disposable

function reader(
  engine: Engine,
  name: string,
  width: number,
  count: number,
  f: (x: Tensor) => Tensor,
): OwnedReader {
  const program = engine.jit(f, { name, axes: [['rows', null]] })
  return {
    count,
    read: async (rows, size) => (await (await program(tensor(rows, [size, width]))).load()) as Float32Array,
    [Symbol.dispose]: () => program.dispose(),
  }
}

/** The features of an SAE, or some of them. */
export function saeReader(engine: Engine, sae: Sae, features?: readonly number[]): OwnedReader {
  const { dIn, dSae } = sae.config
  return reader(engine, 'features', dIn, features?.length ?? dSae, (x) => {
    const all = encode(sae, x)
    return features ? all.gather(tensor(Int32Array.from(features)), -1) : all
  })
}

/** The k largest numbers of each row, as far as they are above 0: neurons made as sparse as features are. */
export const sparsifiedReader = (engine: Engine, width: number, k: number): OwnedReader =>
  reader(engine, 'sparsified', width, width, (x) => keepLargest(x, k))

/** What is above a number of each column, less that number: neurons that are active where they are largest. */
export const thresholdReader = (engine: Engine, thresholds: Float32Array): OwnedReader =>
  reader(engine, 'thresholded', thresholds.length, thresholds.length, (x) =>
    x.sub(tensor(thresholds, [1, thresholds.length])).maximum(0),
  )
