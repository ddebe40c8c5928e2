/** ONNX Runtime in Node: native code, all cores, files mapped into memory. */
import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname } from 'node:path'
import { bytesPerElement, type DType, type TypedArray, typedArray } from '../array/dtype.ts'
import { type FileRange, HostStorage, type Storage } from '../array/storage.ts'
import { addressOf, api, type Pointer, texts } from './native.ts'
import type { MappedRange, OwnStorage, Runtime, Session, SessionModel, SessionSettings } from './runtime.ts'

export interface NodeRuntimeOptions {
  /** Execution provider; 'cpu' by default. */
  readonly provider?: string
  /** Threads of one operator; all cores by default. */
  readonly threads?: number
}

/** Execution providers: the name in the library's list, and the name it is asked for by. */
const providers: Readonly<Record<string, { listed: string; asked?: string }>> = {
  cpu: { listed: 'CPUExecutionProvider' },
  webgpu: { listed: 'WebGpuExecutionProvider', asked: 'WebGPU' },
  coreml: { listed: 'CoreMLExecutionProvider', asked: 'CoreML' },
  dml: { listed: 'DmlExecutionProvider', asked: 'DML' },
}

/** Execution providers of this installation of ONNX Runtime; whether a device is there is known when it is used. */
export function availableProviders(): string[] {
  const listed = api().providers()
  return Object.keys(providers).filter((name) => listed.includes(providers[name]!.listed))
}

/** Throws where this installation of ONNX Runtime does not have the provider. */
export function nodeRuntime(options: NodeRuntimeOptions = {}): Runtime {
  const { provider = 'cpu', threads = availableParallelism() } = options
  const available = availableProviders()
  if (!available.includes(provider))
    throw new Error(
      `execution provider '${provider}' is not part of this build of ONNX Runtime ` +
        `(${process.platform} ${process.arch}); there is: ${available.join(', ')}`,
    )
  if (!Number.isInteger(threads) || threads < 1)
    throw new RangeError(`threads must be a positive integer, got ${threads}`)
  return {
    provider,
    threads,
    writesInPlace: true,
    mapFile,
    allocate: (dtype, shape) => new AlignedStorage(dtype, shape, aligned(dtype, shape)),
    createSession: (model, settings) => NodeSession.create(provider, model, settings),
  }
}

function mapFile({ path }: FileRange): MappedRange {
  const { size, mtimeMs, ino } = statSync(path)
  return { folder: dirname(path), name: basename(path), stamp: `${size} ${mtimeMs} ${ino}` }
}

/** Vector instructions read whole cache lines. */
const alignment = 64

function aligned(dtype: DType, shape: readonly number[]): TypedArray {
  const length = shape.reduce((a, b) => a * b, 1)
  // Not zeroed: a program writes all of it.
  const memory = Buffer.allocUnsafeSlow(length * bytesPerElement[dtype] + alignment)
  const past = Number(addressOf(memory) % BigInt(alignment))
  return typedArray(dtype, length, memory.buffer, (alignment - past) % alignment)
}

class AlignedStorage extends HostStorage implements OwnStorage {
  give(): OwnStorage {
    const data = this.read()
    this.dispose()
    return new AlignedStorage(this.dtype, this.shape, data)
  }
}

/** ONNX's numbers for element types. */
const elementTypes: Readonly<Partial<Record<DType, number>>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
}

/** ONNX Runtime's view of memory that JavaScript owns. */
interface View {
  readonly value: Pointer
  /** Keeps the memory. */
  readonly data: TypedArray
}

const views = new WeakMap<Storage, View>()
const forgotten = new FinalizationRegistry<Pointer>((value) => api().call('ReleaseValue', value))

/** The view of a storage; made once, and released with the storage. */
function viewOf(storage: Storage): View {
  const data = storage.read()
  const known = views.get(storage)
  if (known?.data === data) return known
  const { dtype, shape } = storage
  const type = elementTypes[dtype]
  if (!type) throw new TypeError(`${dtype} arrays cannot be fed to a program: convert them to f32 first`)
  const sizes = BigInt64Array.from(shape, BigInt)
  const value = api().make(
    'CreateTensorWithDataAsOrtValue',
    api().cpuMemory,
    data,
    data.byteLength,
    sizes,
    sizes.length,
    type,
  )
  const view = { value, data }
  views.set(storage, view)
  forgotten.register(storage, value)
  return view
}

/** Runs one after the other. Memory that one has let go may be written by the next. */
let last: Promise<void> | undefined
/** What running programs use, kept from the garbage collector. */
const inUse = new Set<unknown>()

class NodeSession implements Session {
  readonly #session: Pointer
  readonly #inputs: ReturnType<typeof texts>
  readonly #outputs: ReturnType<typeof texts>
  readonly #small: boolean
  #released = false

  private constructor(session: Pointer, model: SessionModel, small: boolean) {
    this.#session = session
    this.#inputs = texts(model.inputs)
    this.#outputs = texts(model.outputs)
    this.#small = small
  }

  static async create(
    provider: string,
    model: SessionModel,
    settings: SessionSettings,
  ): Promise<NodeSession> {
    const native = api()
    const options = native.make('CreateSessionOptions')
    const wide = process.platform === 'win32'
    const kept: unknown[] = [model]
    inUse.add(kept)
    try {
      const allOptimizations = 99
      const errorsOnly = 4
      native.call('SetSessionGraphOptimizationLevel', options, allOptimizations)
      native.call('SetIntraOpNumThreads', options, settings.threads)
      native.call('SetInterOpNumThreads', options, 1)
      // Errors are thrown; they need not be printed as well.
      native.call('SetSessionLogSeverityLevel', options, errorsOnly)
      // Weights that are mapped are wanted small: the arena would keep what one long prompt has needed.
      if (!settings.prepack) native.call('DisableCpuMemArena', options)
      if (settings.profile) native.call('EnableProfiling', options, settings.profile)
      const entries = {
        'session.intra_op.allow_spinning': settings.spin > 0 ? '1' : '0',
        ...(settings.spin > 0 && { 'session.intra_op.spin_duration_us': `${settings.spin}` }),
        'session.disable_prepacking': settings.prepack ? '0' : '1',
        ...(settings.folder && { 'session.model_external_initializers_file_folder_path': settings.folder }),
      }
      for (const [key, value] of Object.entries(entries))
        native.call('AddSessionConfigEntry', options, key, value)
      const { asked } = providers[provider]!
      if (asked) native.call('SessionOptionsAppendExecutionProvider', options, asked, null, null, 0)
      const { external } = model
      if (external.length > 0) {
        const names = texts(
          external.map(({ path }) => path),
          wide,
        )
        const addresses = BigUint64Array.from(external, ({ data }) => addressOf(data))
        const lengths = BigUint64Array.from(external, ({ data }) => BigInt(data.byteLength))
        kept.push(names, addresses, lengths)
        native.call(
          'AddExternalInitializersFromFilesInMemory',
          options,
          names.addresses,
          addresses,
          lengths,
          external.length,
        )
      }
      const made: [Pointer | null] = [null]
      const { bytes } = model
      await native.callAside('CreateSessionFromArray', native.env, bytes, bytes.byteLength, options, made)
      return new NodeSession(made[0]!, model, settings.small)
    } finally {
      inUse.delete(kept)
      native.call('ReleaseSessionOptions', options)
    }
  }

  run(inputs: readonly Storage[], outputs: readonly Storage[]): Promise<void> {
    if (this.#released) throw new Error('this session has been disposed of')
    const uses = [inputs.map(viewOf), outputs.map(viewOf)] as const
    const [fed, written] = uses.map((list) => BigUint64Array.from(list, ({ value }) => value))
    const args = [
      this.#session,
      null,
      this.#inputs.addresses,
      fed,
      inputs.length,
      this.#outputs.addresses,
      outputs.length,
      written,
    ]
    if (this.#small && !last) {
      api().call('Run', ...args)
      return Promise.resolve()
    }
    const held = [uses, fed, written, inputs, outputs]
    inUse.add(held)
    const run = (): Promise<void> => api().callAside('Run', ...args)
    const done = (last ? last.then(run, run) : run()).finally(() => {
      inUse.delete(held)
      if (last === done) last = undefined
    })
    last = done
    return done
  }

  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await last?.catch(() => undefined)
    api().call('ReleaseSession', this.#session)
  }

  endProfiling(): void {
    const native = api()
    const allocator = native.make('GetAllocatorWithDefaultOptions')
    native.call('AllocatorFree', allocator, native.make('SessionEndProfiling', this.#session, allocator))
  }
}
