/** Models by name: opened when first asked for, and closed, the one unused for longest first, when they are too many. */
import { statSync } from 'node:fs'
import { Encoder, kindOf, type Model } from '../../model/index.ts'
import { type Opened, type OpenSettings, openDecoder, openEngine } from '../../registry/open.ts'
import { type With, withMethods } from '../../registry/with.ts'
import { Batcher, type BatcherOptions } from '../batch/index.ts'
import { invalid } from '../errors.ts'
import type { ModelInfo } from './types.ts'

/** A model and how it is run: on the processor with exact weights, which take edits, unless said otherwise. */
export type ModelSource = Pick<OpenSettings, 'path'> & Partial<Omit<OpenSettings, 'path' | 'notes'>>

export interface OpenDecoder {
  readonly kind: 'decoder'
  readonly model: Model
  readonly batcher: Batcher
  /** Of the methods that the server was started with. */
  readonly rules: With['rules']
  /** Methods of a request; kept by their text. */
  methods(specs: readonly string[], draws: boolean): Promise<With>
  close(): Promise<void>
}
export interface OpenEncoder {
  readonly kind: 'encoder'
  readonly model: Encoder
  close(): Promise<void>
}
export type OpenModel = OpenDecoder | OpenEncoder

interface Entry {
  readonly opening: Promise<OpenModel>
  users: number
  loaded: OpenModel | undefined
}

export interface PoolOptions {
  readonly models: Readonly<Record<string, ModelSource>>
  /** Most models that are open at once. */
  readonly keep: number
  readonly batch?: BatcherOptions
}

/** Sets of methods that are kept for a model. */
const keptMethods = 32

export class Pool {
  readonly #options: PoolOptions
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>()

  constructor(options: PoolOptions) {
    this.#options = options
  }

  list(): ModelInfo[] {
    return Object.entries(this.#options.models).map(([id, { path }]) => ({
      id,
      kind: kindOf(path),
      loaded: this.#entries.get(id)?.loaded !== undefined,
      created: Math.floor(statSync(path).mtimeMs / 1000),
    }))
  }

  /** The folder or file of a model. */
  pathOf(name: string): string {
    return this.#source(name).path
  }

  get open(): readonly (readonly [name: string, model: OpenModel])[] {
    return [...this.#entries].flatMap(([name, { loaded }]) => (loaded ? [[name, loaded] as const] : []))
  }

  /** A model for as long as `use` runs. */
  async with<T>(name: string, use: (model: OpenModel) => Promise<T>): Promise<T> {
    const entry = this.#take(name)
    try {
      return await use(await entry.opening)
    } finally {
      this.#release(entry)
    }
  }

  /** The same for a stream. */
  async *streamWith<T>(
    name: string,
    use: (model: OpenModel) => AsyncIterable<T>,
  ): AsyncGenerator<T, void, void> {
    const entry = this.#take(name)
    try {
      yield* use(await entry.opening)
    } finally {
      this.#release(entry)
    }
  }

  #take(name: string): Entry {
    const source = this.#source(name)
    const known = this.#entries.get(name)
    const entry = known ?? this.#begin(name, source)
    this.#entries.delete(name)
    this.#entries.set(name, entry)
    entry.users++
    return entry
  }

  #source(name: string): ModelSource {
    const source = Object.hasOwn(this.#options.models, name) ? this.#options.models[name] : undefined
    if (source) return source
    throw invalid(
      `there is no model '${name}'; there are: ${Object.keys(this.#options.models).join(', ')}`,
      'model_not_found',
    )
  }

  #begin(name: string, source: ModelSource): Entry {
    const opening = this.#openModel(source)
    const entry: Entry = { opening, users: 0, loaded: undefined }
    opening.then(
      (loaded) => {
        entry.loaded = loaded
      },
      // The next request tries again.
      () => this.#entries.delete(name),
    )
    return entry
  }

  #release(entry: Entry): void {
    entry.users--
    for (const [name, other] of this.#entries) {
      if (this.#entries.size <= this.#options.keep) return
      if (other.users > 0 || !other.loaded) continue
      this.#entries.delete(name)
      void other.loaded.close()
    }
  }

  async #openModel(given: ModelSource): Promise<OpenModel> {
    const source = { weights: 'f32', device: 'cpu', ...given } as const
    if (kindOf(source.path) === 'decoder')
      return decoder(await openDecoder(source, { editable: true }), this.#options)
    if (kindOf(source.path) === 'encoder-decoder')
      throw invalid(
        `${source.path} is an encoder-decoder, which the server does not run; glossa generate does`,
      )
    const engine = await openEngine(source)
    return { kind: 'encoder', model: Encoder.open(source.path, engine), close: () => engine.dispose() }
  }

  async close(): Promise<void> {
    const entries = [...this.#entries.values()]
    this.#entries.clear()
    for (const { opening } of entries)
      await opening.then(
        (model) => model.close(),
        () => undefined,
      )
  }
}

function decoder({ model, rules, ...opened }: Opened<Model>, { batch }: PoolOptions): OpenDecoder {
  const batcher = new Batcher(model, batch)
  const kept = new Map<string, Promise<With>>()
  return {
    kind: 'decoder',
    model,
    batcher,
    rules,
    methods(specs, draws) {
      const key = JSON.stringify([specs, draws])
      const known = kept.get(key)
      if (known) return known
      const made = withMethods(model, specs, { draws })
      kept.set(key, made)
      made.catch(() => kept.delete(key))
      if (kept.size > keptMethods) kept.delete(kept.keys().next().value!)
      return made
    },
    async close() {
      await batcher.close()
      await opened[Symbol.asyncDispose]()
    },
  }
}
