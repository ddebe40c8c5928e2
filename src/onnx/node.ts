/** ONNX Runtime in Node: native code, all cores, files mapped into memory. */
import { availableParallelism } from 'node:os'
import { InferenceSession, listSupportedBackends, Tensor } from 'onnxruntime-node'
import type { Runtime, Session } from './runtime.ts'

export interface NodeRuntimeOptions {
  /** Execution provider; 'cpu' by default. */
  readonly provider?: string
  /** Threads of one operator; all cores by default. */
  readonly threads?: number
}

/** Throws where this installation of ONNX Runtime does not have the provider. */
export function nodeRuntime(options: NodeRuntimeOptions = {}): Runtime {
  const { provider = 'cpu', threads = availableParallelism() } = options
  const available = listSupportedBackends().map(({ name }) => name)
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
    Tensor,
    mapsFiles: true,
    async createSession(model, external, settings) {
      const session = await InferenceSession.create(model, {
        executionProviders: [provider],
        graphOptimizationLevel: 'all',
        intraOpNumThreads: settings.threads,
        interOpNumThreads: 1,
        // Weights that are mapped are wanted small: the arena would keep what one long prompt has needed.
        enableCpuMemArena: settings.prepack,
        ...(external.length > 0 && { externalData: [...external] }),
        ...(settings.profile && { enableProfiling: true, profileFilePrefix: settings.profile }),
        extra: {
          session: {
            intra_op: { allow_spinning: settings.spin ? '1' : '0' },
            disable_prepacking: settings.prepack ? '0' : '1',
            ...(settings.folder && { model_external_initializers_file_folder_path: settings.folder }),
          },
        },
        // Errors are thrown; they need not be printed as well.
        logSeverityLevel: 4,
      })
      return session as unknown as Session
    },
  }
}
