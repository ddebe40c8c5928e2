/**
 * Activations in a folder, so that they are computed once:
 *
 *   manifest.json      what they are of, and how much is there; written anew, atomically, after each part
 *   SITE.f32 / .f16    rows of one site one behind the other, little-endian
 *   places.i32         where in the corpus each row's token stands
 *
 * Data is flushed before the manifest counts it. Whatever is behind that in a file was being written when the process
 * was killed, and is written anew.
 */
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { leaves, tensor } from '../../array/index.ts'
import type { Model } from '../../model/index.ts'
import { SourceFile, system, writeAtomic } from '../../store/file.ts'
import { f16Values, f32ToF16 } from '../../store/half.ts'
import { FileError } from '../../store/source.ts'
import { orderOf } from '../../train/data/order.ts'
import type { Batches } from '../../train/index.ts'
import type { ActivationSource } from './source.ts'
import type { ActivationBatch } from './stream.ts'

const kind = 'glossa activations 1'
const manifestFile = 'manifest.json'
const placesFile = 'places.i32'

const identity = z.strictObject({
  /** sha256 of the configuration and of numbers from all weights. */
  model: z.string(),
  /** sha256 of the token ids. */
  tokens: z.string(),
  length: z.int().positive(),
  windows: z.int().positive(),
  begin: z.int().nonnegative().nullable(),
  exclude: z.array(z.int().nonnegative()),
  sites: z.array(z.string()),
  dtype: z.enum(['f32', 'f16']),
})
const manifestSchema = identity.extend({
  kind: z.literal(kind),
  widths: z.array(z.int().positive()),
  /** Forward passes that are in the files, and of all. */
  chunks: z.int().nonnegative(),
  of: z.int().positive(),
  rows: z.int().nonnegative(),
})
type Manifest = z.infer<typeof manifestSchema>
type Identity = z.infer<typeof identity>

export interface CacheOptions {
  readonly folder: string
  /** In order: without a seed. */
  readonly source: ActivationSource
  /** f16 takes half the room, and a thousandth of each number. */
  readonly dtype?: 'f32' | 'f16'
  /** Forward passes from one manifest to the next; 16 by default. */
  readonly every?: number
  readonly signal?: AbortSignal | undefined
  readonly progress?: (done: { readonly chunks: number; readonly of: number; readonly rows: number }) => void
}

/**
 * Writes what is missing of a cache, and opens it: undefined where the signal came first. FileError for a folder that
 * holds activations of something else.
 */
export async function cacheActivations(options: CacheOptions): Promise<ActivationCache | undefined> {
  const { folder, source, dtype = 'f32', every = 16, signal, progress } = options
  const { sites } = source.options
  if (!Number.isFinite(source.chunks))
    throw new Error('activations: a cache needs a source in order: without a seed, each token once')
  const made = identityOf(source, dtype)
  mkdirSync(folder, { recursive: true })
  const path = join(folder, manifestFile)
  let manifest = existsSync(path) ? checked(path, made) : undefined
  if (manifest?.chunks === manifest?.of && manifest) return ActivationCache.open(folder)
  const files = [...sites.map((site) => fileOf(site, dtype)), placesFile].map((name) => {
    const file = join(folder, name)
    return { path: file, descriptor: system(file, 0, () => openSync(file, existsSync(file) ? 'r+' : 'w')) }
  })
  try {
    const bytesOfRow = (i: number): number =>
      i === sites.length ? 4 : manifest!.widths[i]! * (dtype === 'f16' ? 2 : 4)
    files.forEach((file, i) => {
      system(file.path, 0, () => ftruncateSync(file.descriptor, manifest ? manifest.rows * bytesOfRow(i) : 0))
    })
    let [chunks, rows] = [manifest?.chunks ?? 0, manifest?.rows ?? 0]
    for (; chunks < source.chunks && !signal?.aborted; ) {
      const chunk = await source.at(chunks)
      const widths = sites.map((site) => chunk.rows[site]!.length / Math.max(1, chunk.count))
      manifest ??= { kind, ...made, widths, chunks: 0, of: source.chunks, rows: 0 }
      if (chunk.count > 0) {
        sites.forEach((site, i) => {
          append(files[i]!, rows * bytesOfRow(i), stored(chunk.rows[site]!, dtype, site))
        })
        append(files.at(-1)!, rows * 4, source.places(chunks))
      }
      rows += chunk.count
      chunks++
      if (chunks % every === 0 || chunks === source.chunks)
        manifest = commit(path, files, { ...manifest, chunks, rows })
      progress?.({ chunks, of: source.chunks, rows })
    }
    if (chunks < source.chunks) {
      if (manifest) commit(path, files, { ...manifest, chunks, rows })
      return undefined
    }
  } finally {
    for (const { descriptor } of files) closeSync(descriptor)
  }
  return ActivationCache.open(folder)
}

interface OpenFile {
  readonly path: string
  readonly descriptor: number
}

function append({ path, descriptor }: OpenFile, offset: number, data: ArrayBufferView): void {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  for (let done = 0; done < bytes.length; )
    done += system(path, offset + done, () =>
      writeSync(descriptor, bytes, done, bytes.length - done, offset + done),
    )
}

function commit(path: string, files: readonly OpenFile[], manifest: Manifest): Manifest {
  for (const file of files) system(file.path, 0, () => fsyncSync(file.descriptor))
  writeAtomic(path, (put) => put(Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`)))
  return manifest
}

function stored(values: Float32Array, dtype: 'f32' | 'f16', site: string): ArrayBufferView {
  if (dtype === 'f32') return values
  const words = f32ToF16(values)
  if (words.some((word, i) => (word & 0x7c00) === 0x7c00 && Number.isFinite(values[i]!)))
    throw new RangeError(`activations at '${site}' are beyond 65504: f16 does not hold them, take f32`)
  return words
}

/** Sites' names are file names but for what a file system may not take. */
const fileOf = (site: string, dtype: string): string => `${site.replace(/[^\w.-]/g, '_')}.${dtype}`

const sha256 = (): ReturnType<typeof createHash> => createHash('sha256')

/** Numbers of each weight that tell a model from others. */
const sampled = 4096

function fingerprint({ spec, params, adapters }: Model): string {
  const hash = sha256().update(JSON.stringify(spec))
  const trees = [params, ...adapters.map((adapter) => adapter.params)]
  for (const { strength } of adapters) hash.update(`${strength}`)
  for (const [path, leaf] of trees.flatMap((tree) => leaves(tree))) {
    hash.update(`${path} ${leaf}`)
    const { data } = leaf
    const step = Math.max(1, Math.floor(data.length / sampled))
    const picked = step === 1 ? data : data.filter((_: unknown, i: number) => i % step === 0)
    hash.update(new Uint8Array(picked.buffer, picked.byteOffset, picked.byteLength))
  }
  return hash.digest('hex')
}

function identityOf({ options }: ActivationSource, dtype: 'f32' | 'f16'): Identity {
  const { model, tokens, length, windows = 8, begin, exclude = [], sites } = options
  const bytes = new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength)
  return {
    model: fingerprint(model),
    tokens: sha256().update(bytes).digest('hex'),
    length,
    windows,
    begin: begin ?? null,
    exclude: [...exclude].sort((a, b) => a - b),
    sites: [...sites],
    dtype,
  }
}

function readManifest(path: string): Manifest {
  const source = system(path, 0, () => readFileSync(path, 'utf8'))
  try {
    return manifestSchema.parse(JSON.parse(source))
  } catch {
    throw new FileError(
      path,
      0,
      'is no manifest of activations, or of another version; nothing is overwritten',
      'Name another folder, or remove this one',
    )
  }
}

/** The manifest of a cache of the same. */
function checked(path: string, made: Identity): Manifest {
  const found = readManifest(path)
  for (const key of Object.keys(made) as (keyof Identity)[])
    if (JSON.stringify(found[key]) !== JSON.stringify(made[key]))
      throw new FileError(
        path,
        0,
        `is of activations with another '${key}' (${JSON.stringify(found[key])}, not ${JSON.stringify(made[key])})`,
        'Name another folder, or remove this one',
      )
  return found
}

/** Activations in a folder, by row number. */
export class ActivationCache {
  readonly folder: string
  readonly rows: number
  readonly sites: readonly string[]
  /** Tokens of a window. */
  readonly length: number
  readonly #manifest: Manifest
  readonly #files: ReadonlyMap<string, SourceFile>
  readonly #places: SourceFile

  private constructor(folder: string, manifest: Manifest) {
    this.folder = folder
    this.#manifest = manifest
    this.rows = manifest.rows
    this.sites = manifest.sites
    this.length = manifest.length
    const open = (name: string, rowBytes: number): SourceFile => {
      const file = new SourceFile(join(folder, name))
      const wanted = manifest.rows * rowBytes
      if (file.size !== wanted)
        throw file.error(
          file.size,
          `has ${file.size} bytes, but ${manifest.rows} rows take ${wanted}`,
          'It was cut short or changed: remove the folder, and cache anew',
        )
      return file
    }
    const size = manifest.dtype === 'f16' ? 2 : 4
    this.#files = new Map(
      manifest.sites.map((site, i) => [site, open(fileOf(site, manifest.dtype), manifest.widths[i]! * size)]),
    )
    this.#places = open(placesFile, 4)
  }

  /** FileError for a folder without a whole cache. */
  static open(folder: string): ActivationCache {
    const path = join(folder, manifestFile)
    const manifest = readManifest(path)
    if (manifest.chunks < manifest.of)
      throw new FileError(
        path,
        0,
        `is not finished: ${manifest.chunks} of ${manifest.of} passes are there`,
        'Cache the same again, and it goes on',
      )
    return new ActivationCache(folder, manifest)
  }

  widthOf(site: string): number {
    const at = this.sites.indexOf(site)
    if (at < 0) throw new Error(`${this.folder} has no site '${site}'; it has ${this.sites.join(', ')}`)
    return this.#manifest.widths[at]!
  }

  /** Rows by number, [count, width] row-major. */
  read(site: string, rows: ArrayLike<number>): Float32Array {
    const width = this.widthOf(site)
    const file = this.#files.get(site)!
    const out = new Float32Array(rows.length * width)
    const half = this.#manifest.dtype === 'f16'
    const bytes = width * (half ? 2 : 4)
    for (let i = 0; i < rows.length; ) {
      // Rows that follow one another are read at once.
      let next = i + 1
      while (next < rows.length && rows[next] === rows[next - 1]! + 1 && next - i < 4096) next++
      const first = rows[i]!
      if (!Number.isInteger(first) || first < 0 || first + next - i > this.rows)
        throw new RangeError(`row ${first} of ${this.rows}`)
      const { buffer } = file.read(first * bytes, (next - i) * bytes)
      if (half)
        out.set(
          Float32Array.from(new Uint16Array(buffer), (word) => f16Values[word]!),
          i * width,
        )
      else out.set(new Float32Array(buffer), i * width)
      i = next
    }
    return out
  }

  /** Positions in the corpus of rows `from` to `to`; -1 for a token that begins a window. */
  places(from = 0, to = this.rows): Int32Array {
    return new Int32Array(this.#places.read(from * 4, (to - from) * 4).buffer)
  }

  /** Batches of rows in the seed's order, each row once in an epoch. */
  batches(options: {
    readonly batch: number
    readonly seed?: number | undefined
    readonly scale?: Readonly<Record<string, number>>
  }): Batches<ActivationBatch> {
    const { batch, seed, scale = {} } = options
    const order = orderOf(this.rows, { batch, seed, dropLast: true })
    return {
      perEpoch: order.perEpoch,
      at: (step) => {
        const rows = order.rowsAt(step)
        return Object.fromEntries(
          this.sites.map((site) => {
            const data = this.read(site, rows)
            const factor = scale[site] ?? 1
            if (factor !== 1) for (let i = 0; i < data.length; i++) data[i]! *= factor
            return [site, tensor(data, [rows.length, this.widthOf(site)])]
          }),
        )
      },
    }
  }

  [Symbol.dispose](): void {
    for (const file of [...this.#files.values(), this.#places]) file[Symbol.dispose]()
  }
}
