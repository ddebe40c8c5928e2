/**
 * ONNX Runtime in a browser: WebAssembly on the processor, or WebGPU. On WebGPU results, and the large arguments they
 * came from, stay on the device, and are written over there; on WebAssembly results are copied out of its memory.
 */
import type * as Ort from 'onnxruntime-web'
import { type DType, type TypedArray, typedArray } from '../array/dtype.ts'
import type { Storage } from '../array/storage.ts'
import type { OwnStorage, Runtime, Session, SessionModel, SessionSettings } from './runtime.ts'

export interface WebRuntimeOptions {
  /** 'wasm' by default. */
  readonly provider?: 'wasm' | 'webgpu'
  /** Threads of WebAssembly, for all sessions of the page; more than one only where it is cross-origin isolated. */
  readonly threads?: number
  /** URL of the folder `onnxruntime-web/dist`; by default the files are looked for beside the script. */
  readonly assets?: string
}

/** What the script needs of the browser. */
declare const navigator: {
  readonly hardwareConcurrency: number
  readonly gpu?: { requestAdapter(): Promise<object | null> }
}
declare const crossOriginIsolated: boolean

/** Whether this browser gives an adapter for WebGPU. */
export const hasWebGpu = async (): Promise<boolean> => Boolean(await navigator.gpu?.requestAdapter())

/** Loads ONNX Runtime. Throws where the browser does not have the provider. */
export async function webRuntime(options: WebRuntimeOptions = {}): Promise<Runtime> {
  const { provider = 'wasm', assets } = options
  const threads = options.threads ?? (crossOriginIsolated ? navigator.hardwareConcurrency : 1)
  if (!Number.isInteger(threads) || threads < 1)
    throw new RangeError(`threads must be a positive integer, got ${threads}`)
  if (threads > 1 && !crossOriginIsolated)
    throw new Error(
      `${threads} threads need a page that is cross-origin isolated: serve it with the headers ` +
        'Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp',
    )
  if (provider === 'webgpu' && !(await hasWebGpu()))
    throw new Error("this browser has no adapter for WebGPU: use the provider 'wasm'")
  const ort: typeof Ort =
    provider === 'webgpu' ? await import('onnxruntime-web/webgpu') : await import('onnxruntime-web/wasm')
  const { wasm } = ort.env
  if (wasm.numThreads !== undefined && wasm.numThreads !== threads)
    throw new Error(`this page runs ONNX Runtime with ${wasm.numThreads} threads already, not ${threads}`)
  wasm.numThreads = threads
  if (assets !== undefined) wasm.wasmPaths = assets
  return {
    provider,
    threads,
    ...(provider === 'webgpu' && {
      overwritable: (storage: Storage) => storage instanceof ResultStorage && storage.onDevice,
    }),
    allocate: (dtype, shape) => new ResultStorage(dtype, shape),
    createSession: (model, settings) => WebSession.create(ort, provider, model, settings),
  }
}

const typeNames: Readonly<Partial<Record<DType, Ort.Tensor.Type>>> = {
  f32: 'float32',
  f64: 'float64',
  f16: 'float16',
  i64: 'int64',
  i32: 'int32',
  i8: 'int8',
  u8: 'uint8',
  bool: 'bool',
}

/** Memory that ONNX Runtime has allocated for a result: none until a program has written it. */
class ResultStorage implements OwnStorage {
  readonly dtype: DType
  readonly shape: readonly number[]
  #value: Ort.Tensor | undefined
  /** A copy of what is on the device. */
  #host: TypedArray | undefined

  constructor(dtype: DType, shape: readonly number[]) {
    this.dtype = dtype
    this.shape = shape
  }

  get value(): Ort.Tensor {
    if (!this.#value) throw new Error(`this ${this.dtype}[${this.shape.join(', ')}] tensor has been disposed`)
    return this.#value
  }

  get onDevice(): boolean {
    return this.#value?.location === 'gpu-buffer'
  }

  /** What a program can write over; otherwise it makes a new value. */
  get target(): Ort.Tensor | null {
    return this.onDevice ? this.value : null
  }

  write(value: Ort.Tensor): void {
    if (this.#value !== value) this.dispose()
    this.#value = value
    this.#host = undefined
  }

  read(): TypedArray {
    const { value } = this
    if (value.location === 'cpu') this.#host ??= this.#view(value.data)
    if (!this.#host) throw new Error('this tensor is on the GPU: await its load() before reading it')
    return this.#host
  }

  async load(): Promise<void> {
    const { value } = this
    const data = await inTurn(() => value.getData())
    // Meanwhile a program may have written another.
    if (this.#value === value) this.#host ??= this.#view(data)
  }

  /** Without Float16Array, which newer browsers have. */
  #view(data: Ort.Tensor.DataType): TypedArray {
    const { length, buffer, byteOffset } = data as TypedArray
    return typedArray(this.dtype, length, buffer, byteOffset)
  }

  give(): OwnStorage {
    const given = new ResultStorage(this.dtype, this.shape)
    if (this.onDevice) given.#value = this.value
    else this.dispose()
    this.#value = undefined
    this.#host = undefined
    return given
  }

  dispose(): void {
    this.#value?.dispose()
    this.#value = undefined
    this.#host = undefined
  }
}

/** Smaller arguments are sent with every run: their buffers would cost more than the copy. */
const keptBytes = 4096

/** Arguments from host memory on the device, sent there once. */
class Uploads {
  readonly #values = new WeakMap<Storage, Ort.Tensor>()
  readonly #forgotten = new FinalizationRegistry<GpuBuffer>((buffer) => buffer.destroy())
  readonly #ort: typeof Ort

  constructor(ort: typeof Ort) {
    this.#ort = ort
  }

  async valueOf(storage: Storage): Promise<Ort.Tensor> {
    const known = this.#values.get(storage)
    if (known) return known
    const data = storage.read()
    const device = (await this.#ort.env.webgpu.device) as unknown as GpuDevice
    // STORAGE, COPY_SRC and COPY_DST; ONNX Runtime wants whole vectors of 16 bytes.
    const buffer = device.createBuffer({
      size: Math.ceil(data.byteLength / 16) * 16,
      usage: 0x80 | 0x4 | 0x8,
    })
    device.queue.writeBuffer(buffer, 0, data)
    const options = { dataType: 'float32', dims: storage.shape } as const
    const value = this.#ort.Tensor.fromGpuBuffer(buffer as never, options)
    this.#values.set(storage, value)
    this.#forgotten.register(storage, buffer)
    return value
  }
}

/** The part of WebGPU that is used here. */
interface GpuBuffer {
  destroy(): void
}
interface GpuDevice {
  createBuffer(description: { size: number; usage: number }): GpuBuffer
  readonly queue: { writeBuffer(buffer: GpuBuffer, offset: number, data: ArrayBufferView): void }
}

const uploads = new WeakMap<typeof Ort, Uploads>()

/** Runs take turns: ONNX Runtime refuses a second while one waits for the device. */
let last: Promise<unknown> = Promise.resolve()

function inTurn<T>(run: () => Promise<T>): Promise<T> {
  const done = last.then(run, run)
  last = done.catch(() => undefined)
  return done
}

class WebSession implements Session {
  readonly #ort: typeof Ort
  readonly #session: Ort.InferenceSession
  readonly #model: Pick<SessionModel, 'inputs' | 'outputs'>
  /** Set where large arguments are kept on the device. */
  readonly #uploads: Uploads | undefined
  #released = false

  private constructor(
    ort: typeof Ort,
    session: Ort.InferenceSession,
    { inputs, outputs }: SessionModel,
    kept: Uploads | undefined,
  ) {
    this.#ort = ort
    this.#session = session
    this.#model = { inputs, outputs }
    this.#uploads = kept
  }

  static async create(
    ort: typeof Ort,
    provider: 'wasm' | 'webgpu',
    model: SessionModel,
    settings: SessionSettings,
  ): Promise<WebSession> {
    if (settings.profile) throw new Error('profiles are files: they are written in Node only')
    const errorsOnly = 3
    const session = await inTurn(() =>
      ort.InferenceSession.create(model.bytes, {
        executionProviders: [provider],
        graphOptimizationLevel: 'all',
        logSeverityLevel: errorsOnly,
        externalData: [...model.external],
        ...(provider === 'webgpu' && { preferredOutputLocation: 'gpu-buffer' as const }),
        extra: { session: { disable_prepacking: settings.prepack ? '0' : '1' } },
      }),
    )
    if (provider === 'webgpu' && !uploads.has(ort)) uploads.set(ort, new Uploads(ort))
    return new WebSession(ort, session, model, uploads.get(ort))
  }

  run(inputs: readonly Storage[], outputs: readonly Storage[]): Promise<void> {
    if (this.#released) throw new Error('this session has been disposed of')
    return inTurn(async () => {
      const feeds: Record<string, Ort.Tensor> = {}
      for (const [i, storage] of inputs.entries())
        feeds[this.#model.inputs[i]!] = await this.#valueOf(storage)
      const targets = outputs.map((storage, i) => [
        this.#model.outputs[i]!,
        (storage as ResultStorage).target,
      ])
      const results = await this.#session.run(feeds, Object.fromEntries(targets))
      for (const [i, storage] of outputs.entries())
        (storage as ResultStorage).write(results[this.#model.outputs[i]!]!)
    })
  }

  #valueOf(storage: Storage): Ort.Tensor | Promise<Ort.Tensor> {
    if (storage instanceof ResultStorage) return storage.value
    const { dtype, shape } = storage
    const data = storage.read()
    if (this.#uploads && dtype === 'f32' && data.byteLength >= keptBytes)
      return this.#uploads.valueOf(storage)
    const type = typeNames[dtype]
    if (!type) throw new TypeError(`${dtype} arrays cannot be fed to a program: convert them to f32 first`)
    return new this.#ort.Tensor(type, data as never, shape)
  }

  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    await inTurn(() => this.#session.release())
  }

  endProfiling(): void {
    this.#session.endProfiling()
  }
}
