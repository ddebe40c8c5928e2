/** ONNX Runtime in Node: native code, all cores, files mapped into memory. */
import { statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname } from 'node:path'
import type { FileRange } from '../array/storage.ts'
import { DeviceMemory } from './device.ts'
import { api } from './native.ts'
import type { MappedRange, Runtime } from './runtime.ts'
import { NodeSession, openSession } from './session.ts'
import { AlignedStorage } from './values.ts'

export interface NodeRuntimeOptions {
  /** Execution provider; 'cpu' by default. */
  readonly provider?: string
  /** Threads of one operator; all cores by default. */
  readonly threads?: number
}

interface Provider {
  /** Its name in the library's list. */
  readonly listed: string
  /** The name it is asked for by. */
  readonly asked?: string
  /** The library's name for memory of its device, where results can stay. */
  readonly memory?: string
}

const providers: Readonly<Record<string, Provider>> = {
  cpu: { listed: 'CPUExecutionProvider' },
  webgpu: { listed: 'WebGpuExecutionProvider', asked: 'WebGPU', memory: 'WebGPU_Buffer' },
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
  const { asked } = providers[provider]!
  const memory = memoryOf(provider)
  return {
    provider,
    threads,
    mapFile,
    overwritable: (storage) => memory?.owns(storage) ?? true,
    allocate: (dtype, shape) => memory?.storage(dtype, shape) ?? AlignedStorage.allocate(dtype, shape),
    async createSession(model, settings) {
      if (!memory) return new NodeSession(await openSession(asked, model, settings), model, settings.small)
      await memory.open()
      return new NodeSession(await memory.openSession(model, settings), model, settings.small, memory)
    },
  }
}

const memories = new Map<string, DeviceMemory>()

/** The memory of a provider's device: one for all runtimes, because it is one device. */
function memoryOf(provider: string): DeviceMemory | undefined {
  const { asked, memory: name } = providers[provider]!
  if (name === undefined) return undefined
  const memory =
    memories.get(provider) ?? new DeviceMemory(name, (model, settings) => openSession(asked, model, settings))
  memories.set(provider, memory)
  return memory
}

function mapFile({ path }: FileRange): MappedRange {
  const { size, mtimeMs, ino } = statSync(path)
  return { folder: dirname(path), name: basename(path), stamp: `${size} ${mtimeMs} ${ino}` }
}
