/** The small surface of ONNX Runtime that glossa uses. `onnxruntime-node` and `onnxruntime-web` both fit it. */
import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-common'

export type { OrtTensor }

/** Bytes that a model refers to by name instead of containing them. */
export interface ExternalData {
  readonly path: string
  readonly data: Uint8Array
}

export interface SessionSettings {
  /** Threads of one operator. One thread costs no thread pool: right for small graphs. */
  readonly threads: number
  /** Whether idle threads spin for work: lower latency, at the expense of everything else on the machine. */
  readonly spin: boolean
  /** Re-layout of constant weights at load: faster products, but the weights are copied. */
  readonly prepack: boolean
  /** Folder that the model's external files are in; paths outside of it are refused by ONNX Runtime. */
  readonly folder?: string
  /** Write a profile to a file with this prefix. */
  readonly profile?: string
}

export interface Session {
  readonly inputNames: readonly string[]
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
  ): Promise<Readonly<Record<string, OrtTensor>>>
  release(): Promise<void>
  endProfiling(): void
}

export interface Runtime {
  /** Execution provider: 'cpu', 'webgpu', 'cuda' ... */
  readonly provider: string
  /** Default number of threads. */
  readonly threads: number
  readonly Tensor: TensorConstructor
  /** Whether initialisers may point into files on disk. */
  readonly mapsFiles: boolean
  createSession(
    model: Uint8Array,
    external: readonly ExternalData[],
    settings: SessionSettings,
  ): Promise<Session>
}

export type { InferenceSession }
