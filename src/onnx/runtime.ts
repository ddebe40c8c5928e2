/** The small surface of ONNX Runtime that glossa uses: in Node the C library, in a browser `onnxruntime-web`. */
import type { DType } from '../array/dtype.ts'
import type { FileRange, Storage } from '../array/storage.ts'

/** Bytes that a model refers to by name instead of containing them. */
export interface ExternalData {
  readonly path: string
  readonly data: Uint8Array
}

export interface SessionSettings {
  /** Threads of one operator. One thread costs no thread pool: right for small graphs. */
  readonly threads: number
  /** Microseconds for which a thread without work spins before it sleeps. */
  readonly spin: number
  /** Re-layout of constant weights at load: faster products, but the weights are copied. */
  readonly prepack: boolean
  /** Whether a run is so short that handing it to another thread would cost more. */
  readonly small: boolean
  /** Folder that the model's external files are in; paths outside of it are refused by ONNX Runtime. */
  readonly folder?: string
  /** Write a profile to a file with this prefix. */
  readonly profile?: string
}

/** Bytes of a file beside the model. */
export interface MappedRange {
  readonly folder: string
  readonly name: string
  /** Changes when the file is written anew. */
  readonly stamp: string
}

/** Contents in the memory of a runtime's device, written by its programs. */
export interface OwnStorage extends Storage {
  /** The same memory under another owner: this one is disposed of. */
  give(): OwnStorage
}

/** A model, with the names of the inputs it is fed and of the outputs it gives. */
export interface SessionModel {
  readonly bytes: Uint8Array
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly external: readonly ExternalData[]
}

export interface Session {
  /**
   * Runs into the memory of `outputs`, some of which may be that of inputs. Runs of one runtime do not
   * overlap: they take place in the order of the calls.
   */
  run(inputs: readonly Storage[], outputs: readonly Storage[]): Promise<void>
  release(): Promise<void>
  endProfiling(): void
}

export interface Runtime {
  /** Execution provider: 'cpu', 'webgpu' ... */
  readonly provider: string
  /** Default number of threads. */
  readonly threads: number
  /** Whether a program may be given this memory of an input for an output too; absent where it never may. */
  overwritable?(storage: Storage): boolean
  /** Where bytes of a file are for a session that maps them; absent where there are no files to map. */
  mapFile?(file: FileRange): MappedRange
  /** Memory for a result; what it holds is undefined. */
  allocate(dtype: DType, shape: readonly number[]): OwnStorage
  createSession(model: SessionModel, settings: SessionSettings): Promise<Session>
}
