/** The engine: compiles graphs to ONNX Runtime sessions, runs them, owns what they hold. */
import type { TypedArray } from '../array/dtype.ts'
import { type Graph, postOrder, printGraph, transparent } from '../array/graph.ts'
import { type Compiler, type JitOptions, type Jitted, jit } from '../array/jit.ts'
import type { Storage } from '../array/storage.ts'
import type { Tensor } from '../array/tensor.ts'
import { leaves, mapTree } from '../array/tree.ts'
import { inputName, lower, outputName } from './lower.ts'
import { SessionProgram } from './program.ts'
import { encodeModel, type TensorBytes } from './proto.ts'
import type { ExternalData, Runtime, Session, SessionModel, SessionSettings } from './runtime.ts'

export interface CompileOptions {
  readonly name?: string
  /** Threads of one operator; the runtime's default, or 1 for graphs of a few operations. */
  readonly threads?: number
  readonly prepack?: boolean
  readonly profile?: string
}

export interface EngineOptions {
  /**
   * Microseconds for which a thread without work spins before it sleeps; 200 by default, 0 for never. From one
   * operator to the next is less than that, so a token takes a tenth less time; between tokens threads sleep.
   */
  readonly spin?: number
}

const defaultSpin = 200

/** Where the large constants of one model are. ONNX Runtime takes them from files or from memory, not both. */
interface Constants {
  readonly mapped: boolean
  readonly inMemory: ExternalData[]
  folder?: string | undefined
  /** Files by name, size and time: a file that was written anew makes another session. */
  readonly files: Set<string>
}

/** A program of `compute`, and how many calls are running it. */
interface EagerProgram {
  readonly program: Promise<SessionProgram>
  users: number
}

/** Graphs with fewer nodes, and no loop, run on one thread: a pool costs more than it gives. */
const smallGraph = 12
/** Programs that `compute` keeps, least recently used first out. */
const eagerPrograms = 64

export class Engine implements Compiler {
  readonly runtime: Runtime
  readonly #spin: number
  readonly #sessions = new Map<string, { session: Promise<Session>; users: number }>()
  readonly #eager = new Map<string, EagerProgram>()
  #private = 0
  #disposed = false

  constructor(runtime: Runtime, options: EngineOptions = {}) {
    this.runtime = runtime
    this.#spin = options.spin ?? defaultSpin
  }

  get provider(): string {
    return this.runtime.provider
  }

  /** Sessions that are open now. */
  get openSessions(): number {
    return this.#sessions.size
  }

  /** `f` compiled on first use for each structure of its arguments; see `array/jit.ts`. */
  jit<A extends readonly unknown[], R>(
    f: (...args: A) => R,
    options: JitOptions & Omit<CompileOptions, 'name'> = {},
  ): Jitted<A, R> {
    return jit({ compile: (graph, name) => this.compile(graph, name, options) }, f, options)
  }

  async compile(graph: Graph, name = 'program', options: CompileOptions = {}): Promise<SessionProgram> {
    this.#checkOpen()
    const constants: Constants = {
      mapped: this.runtime.mapFile !== undefined && capturesFiles(graph),
      inMemory: [],
      files: new Set(),
    }
    const lowered = lower(graph, {
      name: name || 'program',
      provider: this.provider,
      place: (storage) => this.#place(storage, constants),
    })
    const { nodes } = lowered.model
    const small = nodes.length < smallGraph && !nodes.some(({ body }) => body)
    const settings: SessionSettings = {
      threads: options.threads ?? (small ? 1 : this.runtime.threads),
      small,
      spin: this.#spin,
      prepack: options.prepack ?? true,
      ...(constants.folder !== undefined && { folder: constants.folder }),
      ...(options.profile && { profile: options.profile }),
    }
    const model: SessionModel = {
      bytes: encodeModel(lowered.model),
      inputs: lowered.used.map(inputName),
      outputs: graph.outputs.map((_, i) => outputName(i)),
      external: constants.inMemory,
    }
    const { session, release } = await this.#open(model, constants, settings)
    const inPlace = this.runtime.overwritable ? lowered.inPlace : new Map<number, number>()
    return new SessionProgram(this.runtime, graph, session, { used: lowered.used, inPlace }, release)
  }

  /** Computes the tensors of a tree that are not concrete yet. Equal expressions share one session. */
  async compute<T>(tree: T): Promise<T> {
    const pending = leaves(tree).flatMap(([, leaf]) => (leaf.source.kind === 'value' ? [] : [leaf]))
    if (pending.length === 0) return tree
    const { graph, values } = lift(pending)
    const key = printGraph(graph)
    const entry = this.#eager.get(key) ?? { program: this.compile(graph, 'compute'), users: 0 }
    // Newest last.
    this.#eager.delete(key)
    this.#eager.set(key, entry)
    entry.users++
    let outputs: Tensor[]
    try {
      const program = await entry.program.catch((error: unknown) => {
        // Tried again at the next call.
        if (this.#eager.get(key) === entry) this.#eager.delete(key)
        throw error
      })
      outputs = await program.run(values)
    } finally {
      entry.users--
      this.#trimEager()
    }
    const results = new Map(pending.map((leaf, i) => [leaf, outputs[i]!]))
    return mapTree(tree, (leaf) => results.get(leaf) ?? leaf) as T
  }

  #trimEager(): void {
    for (const [key, { program, users }] of this.#eager) {
      if (this.#eager.size <= eagerPrograms) return
      if (users > 0) continue
      this.#eager.delete(key)
      void program.then((compiled) => compiled.dispose())
    }
  }

  #checkOpen(): void {
    if (this.#disposed) throw new Error('this engine has been disposed')
  }

  /** Releases every session. Neither this engine nor its programs can be used afterwards. */
  async dispose(): Promise<void> {
    this.#disposed = true
    const open = [...this.#sessions.values()]
    this.#sessions.clear()
    this.#eager.clear()
    // A session that failed to open was reported to those who asked for it.
    await Promise.all(
      open.map(({ session }) =>
        session.then(
          (made) => made.release(),
          () => undefined,
        ),
      ),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  #place(storage: Storage, constants: Constants): TensorBytes {
    const { file } = storage
    const found = file && this.runtime.mapFile?.(file)
    // One model maps the files of one folder; constants from elsewhere are read into memory.
    if (found && (constants.folder ?? found.folder) === found.folder) {
      constants.folder = found.folder
      constants.files.add(`${file.path} ${found.stamp}`)
      return { location: found.name, offset: file.offset, length: file.bytes }
    }
    const data: TypedArray = storage.read()
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    if (constants.mapped) return { raw }
    const path = `memory_${constants.inMemory.length}`
    constants.inMemory.push({ path, data: raw })
    return { location: path, offset: 0, length: data.byteLength }
  }

  async #open(
    model: SessionModel,
    { inMemory, files }: Constants,
    settings: SessionSettings,
  ): Promise<{ session: Session; release: () => void }> {
    const create = () => this.runtime.createSession(model, settings)
    if (inMemory.length > 0 || settings.profile) {
      // Contents in memory are not part of the key: such a session is not shared.
      const key = `private ${this.#private++}`
      return this.#hold(key, create)
    }
    // The model itself is the key: exact, and no longer than the programs that have it.
    return this.#hold(`${JSON.stringify([settings, ...files])} ${oneByte.decode(model.bytes)}`, create)
  }

  async #hold(
    key: string,
    create: () => Promise<Session>,
  ): Promise<{ session: Session; release: () => void }> {
    let entry = this.#sessions.get(key)
    if (!entry) {
      const made = { session: create(), users: 0 }
      made.session.catch(() => {
        if (this.#sessions.get(key) === made) this.#sessions.delete(key)
      })
      this.#sessions.set(key, made)
      entry = made
    }
    entry.users++
    const held = entry
    const session = await held.session
    this.#checkOpen()
    return {
      session,
      release: () => {
        if (--held.users > 0 || this.#sessions.get(key) !== held) return
        this.#sessions.delete(key)
        void session.release()
      },
    }
  }
}

/** Gives every byte a character of its own. */
const oneByte = new TextDecoder('latin1')

const capturesFiles = (graph: Graph): boolean =>
  postOrder(graph.outputs.map(({ tensor }) => tensor)).some(
    ({ source }) => source.kind === 'value' && source.storage.file !== undefined,
  )

/** Replaces concrete arrays by inputs, so that the same expression on other data is the same graph. */
function lift(outputs: readonly Tensor[]): { graph: Graph; values: Tensor[] } {
  const values = postOrder(outputs, transparent).filter(
    ({ source }) => source.kind === 'value' && !source.literal,
  )
  return {
    graph: {
      inputs: values.map((tensor, i) => ({ name: `x${i}`, tensor })),
      outputs: outputs.map((tensor, i) => ({ name: `y${i}`, tensor })),
    },
    values,
  }
}
