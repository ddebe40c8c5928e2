/** The engine: compiles graphs to ONNX Runtime sessions, runs them, owns what they hold. */
import { createHash } from 'node:crypto'
import { basename, dirname } from 'node:path'
import type { TypedArray } from '../array/dtype.ts'
import { type Graph, postOrder, printGraph } from '../array/graph.ts'
import { bindSymbols } from '../array/interpret.ts'
import { type Compiler, type JitOptions, type Jitted, jit, type Program } from '../array/jit.ts'
import type { Storage } from '../array/storage.ts'
import { fromStorage, placeholder, type Tensor } from '../array/tensor.ts'
import { leaves, mapTree } from '../array/tree.ts'
import { allocate, OrtStorage, ortTensor } from './buffer.ts'
import { inputName, lower, outputName } from './lower.ts'
import { encodeModel, type TensorBytes } from './proto.ts'
import type { ExternalData, OrtTensor, Runtime, Session, SessionSettings } from './runtime.ts'

export interface CompileOptions {
  readonly name?: string
  /** Threads of one operator; the runtime's default, or 1 for graphs of a few operations. */
  readonly threads?: number
  readonly prepack?: boolean
  readonly profile?: string
}

export interface EngineOptions {
  readonly spin?: boolean
}

/** Where the large constants of one model are. ONNX Runtime takes them from files or from memory, not both. */
interface Constants {
  readonly mapped: boolean
  readonly inMemory: ExternalData[]
  folder?: string | undefined
}

/** Graphs with fewer nodes run on one thread: a pool costs more than it gives. */
const smallGraph = 12

export class Engine implements Compiler {
  readonly runtime: Runtime
  readonly #spin: boolean
  readonly #sessions = new Map<string, { session: Promise<Session>; users: number }>()
  readonly #eager = new Map<string, Promise<Program>>()
  #private = 0

  constructor(runtime: Runtime, options: EngineOptions = {}) {
    this.runtime = runtime
    this.#spin = options.spin ?? false
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

  async compile(graph: Graph, name = 'program', options: CompileOptions = {}): Promise<Program> {
    const constants: Constants = { mapped: this.runtime.mapsFiles && capturesFiles(graph), inMemory: [] }
    const { model, used, inPlace } = lower(graph, {
      name: name || 'program',
      provider: this.provider,
      place: (storage) => this.#place(storage, constants),
    })
    const settings: SessionSettings = {
      threads: options.threads ?? (model.nodes.length < smallGraph ? 1 : this.runtime.threads),
      spin: this.#spin,
      prepack: options.prepack ?? true,
      ...(constants.folder !== undefined && { folder: constants.folder }),
      ...(options.profile && { profile: options.profile }),
    }
    const { session, release } = await this.#open(encodeModel(model), constants.inMemory, settings)
    return new SessionProgram(this.runtime, graph, session, used, inPlace, release)
  }

  /** Computes the tensors of a tree that are not concrete yet. Equal expressions share one session. */
  async compute<T>(tree: T): Promise<T> {
    const pending = leaves(tree).flatMap(([, leaf]) => (leaf.source.kind === 'value' ? [] : [leaf]))
    if (pending.length === 0) return tree
    const { graph, values } = lift(pending)
    const key = printGraph(graph)
    let program = this.#eager.get(key)
    if (!program) {
      program = this.compile(graph, 'compute')
      this.#eager.set(key, program)
      program.catch(() => this.#eager.delete(key))
    }
    const outputs = await (await program).run(values)
    const results = new Map(pending.map((leaf, i) => [leaf, outputs[i]!]))
    return mapTree(tree, (leaf) => results.get(leaf) ?? leaf) as T
  }

  /** Releases every session. Programs made by this engine cannot run afterwards. */
  async dispose(): Promise<void> {
    const open = [...this.#sessions.values()]
    this.#sessions.clear()
    this.#eager.clear()
    await Promise.all(open.map(async ({ session }) => (await session).release()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }

  #place(storage: Storage, constants: Constants): TensorBytes {
    const { file } = storage
    const folder = file && dirname(file.path)
    // One model maps the files of one folder; constants from elsewhere are read into memory.
    if (file && constants.mapped && (constants.folder ?? folder) === folder) {
      constants.folder = folder
      return { location: basename(file.path), offset: file.offset, length: file.bytes }
    }
    const data: TypedArray = storage.read()
    const raw = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    if (constants.mapped) return { raw }
    const path = `memory_${constants.inMemory.length}`
    constants.inMemory.push({ path, data: raw })
    return { location: path, offset: 0, length: data.byteLength }
  }

  async #open(
    model: Uint8Array,
    external: readonly ExternalData[],
    settings: SessionSettings,
  ): Promise<{ session: Session; release: () => void }> {
    const create = () => this.runtime.createSession(model, external, settings)
    if (external.length > 0 || settings.profile) {
      // Contents in memory are not part of the key: such a session is not shared.
      const key = `private ${this.#private++}`
      return this.#hold(key, create)
    }
    const key = createHash('sha1').update(model).update(JSON.stringify(settings)).digest('hex')
    return this.#hold(key, create)
  }

  async #hold(
    key: string,
    create: () => Promise<Session>,
  ): Promise<{ session: Session; release: () => void }> {
    let entry = this.#sessions.get(key)
    if (!entry) {
      entry = { session: create(), users: 0 }
      this.#sessions.set(key, entry)
      entry.session.catch(() => this.#sessions.delete(key))
    }
    entry.users++
    const held = entry
    const session = await held.session
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

const capturesFiles = (graph: Graph): boolean =>
  postOrder(graph.outputs.map(({ tensor }) => tensor)).some(
    ({ source }) => source.kind === 'value' && source.storage.file !== undefined,
  )

/** Replaces concrete arrays by inputs, so that the same expression on other data is the same graph. */
function lift(outputs: readonly Tensor[]): { graph: Graph; values: Tensor[] } {
  const values: Tensor[] = []
  const inputs: { name: string; tensor: Tensor }[] = []
  const replaced = new Map<Tensor, Tensor>()
  for (const node of postOrder(outputs)) {
    const { source } = node
    if (source.kind === 'value' && !source.literal) {
      inputs.push({ name: `x${inputs.length}`, tensor: node })
      values.push(node)
      replaced.set(node, node)
    }
  }
  return {
    graph: { inputs, outputs: outputs.map((tensor, i) => ({ name: `y${i}`, tensor })) },
    values,
  }
}

class SessionProgram implements Program {
  readonly #runtime: Runtime
  readonly #graph: Graph
  readonly #session: Session
  readonly #used: readonly number[]
  readonly #inPlace: ReadonlyMap<number, number>
  readonly #release: () => void
  #disposed = false

  constructor(
    runtime: Runtime,
    graph: Graph,
    session: Session,
    used: readonly number[],
    inPlace: ReadonlyMap<number, number>,
    release: () => void,
  ) {
    this.#runtime = runtime
    this.#graph = graph
    this.#session = session
    this.#used = used
    this.#inPlace = inPlace
    this.#release = release
  }

  async run(inputs: readonly Tensor[]): Promise<Tensor[]> {
    if (this.#disposed) throw new Error('this program has been disposed')
    bindSymbols(
      this.#graph.inputs,
      inputs.map(({ sizes }) => sizes),
    )
    const feeds: Record<string, OrtTensor> = {}
    for (const i of this.#used) feeds[inputName(i)] = ortTensor(inputs[i]!.storage, this.#runtime)
    const fetches: Record<string, OrtTensor | null> = {}
    this.#graph.outputs.forEach((_, i) => {
      const over = this.#inPlace.get(i)
      fetches[outputName(i)] = over === undefined ? null : ortTensor(inputs[over]!.storage, this.#runtime)
    })
    const results = await this.#session.run(feeds, fetches)
    return this.#graph.outputs.map((_, i) => {
      const over = this.#inPlace.get(i)
      return over === undefined ? fromStorage(new OrtStorage(results[outputName(i)]!)) : inputs[over]!
    })
  }

  endProfiling(): void {
    this.#session.endProfiling()
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#release()
  }
}

export { allocate, placeholder }
