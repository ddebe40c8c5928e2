/** ONNX Runtime as the engine of traced graphs. */
import { Engine } from './engine.ts'
import { nodeRuntime } from './node.ts'

export { type Choice, chooseProvider } from './auto.ts'
export { type CompileOptions, Engine, type EngineOptions } from './engine.ts'
export { type ExportedGraph, type ExportOptions, exportGraph } from './export.ts'
export { availableProviders, type NodeRuntimeOptions, nodeRuntime } from './node.ts'
export { formatProfile, type ProfileOptions, type ProfileRow, profile } from './profile.ts'
export type { SessionProgram } from './program.ts'
export type { Runtime } from './runtime.ts'

export interface OpenEngineOptions {
  /** Execution provider: 'cpu' (the default), 'webgpu', 'cuda' ... */
  readonly device?: string | undefined
  /** Threads of one operator; all cores by default. */
  readonly threads?: number | undefined
  /** Microseconds for which a thread without work spins before it sleeps; see `EngineOptions`. */
  readonly spin?: number | undefined
}

/** An engine on this machine. Throws where the device is not part of this installation. */
export function openEngine({ device, threads, spin }: OpenEngineOptions = {}): Engine {
  const runtime = nodeRuntime({
    ...(device !== undefined && { provider: device }),
    ...(threads !== undefined && { threads }),
  })
  return new Engine(runtime, { ...(spin !== undefined && { spin }) })
}
