/**
 * Memory of a device. Results of a program stay there, as do the large arguments of the next; the host gets a copy
 * when somebody reads them. Copies are runs of a program that does nothing: its input is in one memory, its output
 * in the other, and ONNX Runtime copies what has to be where.
 */
import { bytesPerElement, type DType, type TypedArray } from '../array/dtype.ts'
import type { Storage } from '../array/storage.ts'
import { api, type Pointer, texts } from './native.ts'
import { encodeModel } from './proto.ts'
import type { OwnStorage, SessionModel, SessionSettings } from './runtime.ts'
import { inTurn, running, whenIdle } from './turns.ts'
import { AlignedStorage, aligned, elementTypes, type Value, viewData, viewOf } from './values.ts'

/** Smaller arrays are sent with every run: their buffers would cost more than the copy. */
const keptBytes = 4096

/** Whether an array is kept on the device. Others are positions, tokens, scalars: some operators want them on the host. */
const isKept = ({ dtype, shape }: { dtype: DType; shape: readonly number[] }): boolean =>
  dtype === 'f32' && shape.reduce((a, b) => a * b, bytesPerElement.f32) >= keptBytes

const forgotten = new FinalizationRegistry<Pointer>(releaseValue)

function releaseValue(value: Pointer): void {
  whenIdle(() => api().call('ReleaseValue', value))
}

function release(buffer: Value): void {
  forgotten.unregister(buffer)
  releaseValue(buffer.value)
}

type OpenSession = (
  model: Pick<SessionModel, 'bytes' | 'external'>,
  settings: SessionSettings,
) => Promise<Pointer>

/** The device of one execution provider. All its sessions share it, and it stays until the process ends. */
export class DeviceMemory {
  readonly #name: string
  readonly #openSession: OpenSession
  #opened: Promise<void> | undefined
  #copier!: Pointer
  #allocator!: Pointer
  readonly #names = texts(['from', 'to'])
  /** Arguments from host memory, sent there once. */
  readonly #uploads = new WeakMap<Storage, { buffer: Value; data: TypedArray }>()

  /** `name` is ONNX Runtime's for this kind of memory. */
  constructor(name: string, openSession: OpenSession) {
    this.#name = name
    this.#openSession = openSession
  }

  /** Has to be awaited once before anything else. */
  open(): Promise<void> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined
      throw error
    })
    return this.#opened
  }

  async #open(): Promise<void> {
    const copy = encodeModel({
      name: 'copy',
      nodes: [
        { op: 'Identity', domain: '', name: 'copy', inputs: ['from'], outputs: ['to'], attributes: [] },
      ],
      initializers: [],
      inputs: [{ name: 'from', dtype: 'f32' }],
      outputs: [{ name: 'to', dtype: 'f32' }],
    })
    const settings = { threads: 1, spin: 0, prepack: false, small: true }
    this.#copier = await this.openSession({ bytes: copy, external: [] }, settings)
    const native = api()
    const [deviceAllocator, firstDevice, defaultMemory] = [0, 0, 0]
    const info = native.make('CreateMemoryInfo', this.#name, deviceAllocator, firstDevice, defaultMemory)
    this.#allocator = native.make('CreateAllocator', this.#copier, info)
  }

  /** Opens a session in turn: constants go to the device, which two threads must not use at once. */
  async openSession(...args: Parameters<OpenSession>): Promise<Pointer> {
    let session: Pointer | undefined
    await inTurn(async () => {
      session = await this.#openSession(...args)
    }, args)
    return session!
  }

  /** Room for a result: on the device, or where small on the host. */
  storage(dtype: DType, shape: readonly number[]): OwnStorage {
    return isKept({ dtype, shape })
      ? new DeviceStorage(this, dtype, shape)
      : AlignedStorage.allocate(dtype, shape)
  }

  /** Whether a program may write over it: what somebody else has put into host memory stays as it is. */
  owns(storage: Storage): boolean {
    return storage instanceof AlignedStorage || (storage instanceof DeviceStorage && storage.memory === this)
  }

  /** What a program is fed; to be called in turn. */
  async input(storage: Storage): Promise<Value> {
    if (storage instanceof DeviceStorage && storage.memory === this) return storage.buffer
    if (!isKept(storage)) return viewOf(storage)
    if (storage instanceof DeviceStorage) await storage.fetch()
    const { value, data } = viewOf(storage)
    const known = this.#uploads.get(storage)
    if (known?.data === data) return known.buffer
    const buffer = this.allocate(storage.shape)
    await api().callAside('Run', ...this.#copy(value, buffer.value))
    this.#uploads.set(storage, { buffer, data })
    return buffer
  }

  /** What a program writes; to be called in turn. */
  output(storage: Storage): Value {
    return storage instanceof DeviceStorage ? storage.written() : viewOf(storage)
  }

  /** A buffer of f32, which is released when nobody has it any more; to be called in turn. */
  allocate(shape: readonly number[]): Value {
    const sizes = BigInt64Array.from(shape, BigInt)
    const { f32 } = elementTypes
    const value = api().make('CreateTensorAsOrtValue', this.#allocator, sizes, sizes.length, f32)
    // Never touched, so it takes no memory; but the garbage collector counts it, and knows nothing of the device.
    const buffer = { value, weight: new ArrayBuffer(shape.reduce((a, b) => a * b, bytesPerElement.f32)) }
    forgotten.register(buffer, value, buffer)
    return buffer
  }

  /** Copies to the host at once. */
  read({ value }: Value, dtype: DType, shape: readonly number[]): TypedArray {
    const data = aligned(dtype, shape)
    const view = viewData(dtype, shape, data)
    try {
      api().call('Run', ...this.#copy(value, view))
    } finally {
      api().call('ReleaseValue', view)
    }
    return data
  }

  /** Copies to the host in another thread; to be called in turn. */
  async fetch({ value }: Value, dtype: DType, shape: readonly number[]): Promise<TypedArray> {
    const data = aligned(dtype, shape)
    const view = viewData(dtype, shape, data)
    try {
      await api().callAside('Run', ...this.#copy(value, view))
    } finally {
      api().call('ReleaseValue', view)
    }
    return data
  }

  #copy(from: Pointer, to: Pointer): unknown[] {
    const [input, output] = this.#names.addresses
    return [
      this.#copier,
      null,
      BigUint64Array.of(input!),
      BigUint64Array.of(from),
      1,
      BigUint64Array.of(output!),
      1,
      BigUint64Array.of(to),
    ]
  }
}

/** A result on the device: none until a program has written it. */
class DeviceStorage implements OwnStorage {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly memory: DeviceMemory
  #buffer: Value | undefined
  /** A copy of what is on the device. */
  #host: TypedArray | undefined

  constructor(memory: DeviceMemory, dtype: DType, shape: readonly number[], buffer?: Value) {
    this.memory = memory
    this.dtype = dtype
    this.shape = shape
    this.#buffer = buffer
  }

  get buffer(): Value {
    if (!this.#buffer)
      throw new Error(`this ${this.dtype}[${this.shape.join(', ')}] tensor has been disposed`)
    return this.#buffer
  }

  /** The buffer, to be written now. */
  written(): Value {
    this.#host = undefined
    this.#buffer ??= this.memory.allocate(this.shape)
    return this.#buffer
  }

  read(): TypedArray {
    const { buffer } = this
    if (!this.#host && running())
      throw new Error('this tensor is on the GPU, where a program runs: await its load() before reading it')
    this.#host ??= this.memory.read(buffer, this.dtype, this.shape)
    return this.#host
  }

  async load(): Promise<void> {
    const { buffer } = this
    if (!this.#host) await inTurn(() => this.fetch(), [this, buffer])
  }

  /** As `load`, where it is this caller's turn already. */
  async fetch(): Promise<void> {
    this.#host ??= await this.memory.fetch(this.buffer, this.dtype, this.shape)
  }

  give(): OwnStorage {
    const { buffer } = this
    this.#buffer = undefined
    this.#host = undefined
    return new DeviceStorage(this.memory, this.dtype, this.shape, buffer)
  }

  dispose(): void {
    if (this.#buffer) release(this.#buffer)
    this.#buffer = undefined
    this.#host = undefined
  }
}
