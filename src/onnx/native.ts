/**
 * ONNX Runtime's C API, called in the library that the package onnxruntime-node brings. That package's own
 * binding copies every result into new memory, which for a cache or for the weights of a training step is a
 * third of the time, and it holds the event loop while a program runs (docs/decisions.md).
 */
import { existsSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import koffi, { type KoffiFunc } from 'koffi'

/** An address in native memory. */
export type Pointer = bigint

/** The version of the table of functions that is asked for: the lowest that has all those below. */
const apiVersion = 18

const handle = 'void *'
/** Null, or an object that says what went wrong. */
const status = 'void *'
const result: unknown = koffi.out('void **')
const counted: unknown = koffi.out('int *')
// Paths are wide on Windows.
const path = process.platform === 'win32' ? 'str16' : 'str'

/** The functions in use: their place in the table, which only ever grows at its end, and their types. */
const table = {
  GetErrorMessage: [2, 'str', [handle]],
  CreateEnv: [3, status, ['int', 'str', result]],
  CreateSessionFromArray: [8, status, [handle, handle, 'size_t', handle, result]],
  Run: [9, status, [handle, handle, handle, handle, 'size_t', handle, 'size_t', handle]],
  CreateSessionOptions: [10, status, [result]],
  EnableProfiling: [14, status, [handle, path]],
  DisableCpuMemArena: [19, status, [handle]],
  SetSessionLogSeverityLevel: [22, status, [handle, 'int']],
  SetSessionGraphOptimizationLevel: [23, status, [handle, 'int']],
  SetIntraOpNumThreads: [24, status, [handle, 'int']],
  SetInterOpNumThreads: [25, status, [handle, 'int']],
  CreateTensorAsOrtValue: [48, status, [handle, handle, 'size_t', 'int', result]],
  CreateTensorWithDataAsOrtValue: [49, status, [handle, handle, 'size_t', handle, 'size_t', 'int', result]],
  CreateMemoryInfo: [68, status, ['str', 'int', 'int', 'int', result]],
  CreateCpuMemoryInfo: [69, status, ['int', 'int', result]],
  AllocatorFree: [76, status, [handle, handle]],
  GetAllocatorWithDefaultOptions: [78, status, [result]],
  ReleaseStatus: [93, 'void', [handle]],
  ReleaseSession: [95, 'void', [handle]],
  ReleaseValue: [96, 'void', [handle]],
  ReleaseSessionOptions: [100, 'void', [handle]],
  SessionEndProfiling: [110, status, [handle, handle, result]],
  GetAvailableProviders: [125, status, [result, counted]],
  ReleaseAvailableProviders: [126, status, [handle, 'int']],
  AddSessionConfigEntry: [130, status, [handle, 'str', 'str']],
  CreateAllocator: [131, status, [handle, handle, result]],
  SessionOptionsAppendExecutionProvider: [216, status, [handle, 'str', handle, handle, 'size_t']],
  AddExternalInitializersFromFilesInMemory: [279, status, [handle, handle, handle, handle, 'size_t']],
} as const satisfies Record<string, readonly [number, string, readonly unknown[]]>

type Name = keyof typeof table

/** Where onnxruntime-node keeps its library for this system. */
function libraryPath(): string {
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  const folder = join(root, 'bin', 'napi-v6', process.platform, process.arch)
  const name = existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .find((file) => /^(lib)?onnxruntime\.(so|dll|.*dylib)/.test(file))
    : undefined
  if (!name)
    throw new Error(`onnxruntime-node has no library for ${process.platform} ${process.arch} (${folder})`)
  return join(folder, name)
}

export class Api {
  /** Describes memory of this machine. */
  readonly cpuMemory: Pointer
  readonly env: Pointer
  /** A library that nobody refers to is unloaded. */
  readonly library: unknown
  readonly #functions = new Map<Name, KoffiFunc<(...args: unknown[]) => unknown>>()

  readonly #inUse = new Set<unknown>()

  constructor() {
    // Native code runs on stacks of this size; a graph of a thousand nodes is walked recursively.
    const stack = 8 << 20
    koffi.config({ ...koffi.config(), sync_stack_size: stack, async_stack_size: stack })
    const library = koffi.load(libraryPath())
    this.library = library
    const base = library.func('OrtGetApiBase', 'void *', [])() as Pointer
    const getApi = koffi.decode(
      koffi.decode(base, 'void *'),
      koffi.proto('void *', ['uint32_t']),
    ) as KoffiFunc<(...args: unknown[]) => unknown>
    const api = getApi(apiVersion) as Pointer | null
    if (!api) throw new Error(`this ONNX Runtime has no version ${apiVersion} of its API`)
    for (const [name, [index, type, types]] of Object.entries(table)) {
      const address = koffi.decode(api, index * koffi.sizeof('void *'), 'void *') as Pointer
      const proto = koffi.proto(type, [...types] as never)
      this.#functions.set(
        name as Name,
        koffi.decode(address, proto) as KoffiFunc<(...args: unknown[]) => unknown>,
      )
    }
    const errorsOnly = 4
    this.env = this.make('CreateEnv', errorsOnly, 'glossa')
    const [deviceAllocator, defaultMemory] = [0, 0]
    this.cpuMemory = this.make('CreateCpuMemoryInfo', deviceAllocator, defaultMemory)
  }

  /** Calls a function, and throws where its status says so. */
  call(name: Name, ...args: unknown[]): void {
    const failed = this.#functions.get(name)!(...args) as Pointer | null
    if (failed && table[name][1] === status) throw this.#error(failed)
  }

  /** Calls a function whose last argument takes what it makes. */
  make(name: Name, ...args: unknown[]): Pointer {
    const made: [Pointer | null] = [null]
    this.call(name, ...args, made)
    return made[0]!
  }

  /** Calls a function in another thread. Its arguments are kept from the garbage collector until it is done. */
  callAside(name: Name, ...args: unknown[]): Promise<void> {
    this.#inUse.add(args)
    return new Promise((resolve, reject) => {
      this.#functions.get(name)!.async(...args, (error: unknown, failed: unknown) => {
        this.#inUse.delete(args)
        if (error) reject(error)
        else if (failed) reject(this.#error(failed as Pointer))
        else resolve()
      })
    })
  }

  #error(failed: Pointer): Error {
    const message = this.#functions.get('GetErrorMessage')!(failed) as string
    this.#functions.get('ReleaseStatus')!(failed)
    return new Error(message)
  }

  /** Names of the execution providers of this library, such as CPUExecutionProvider. */
  providers(): string[] {
    const [list, count]: [[Pointer | null], [number]] = [[null], [0]]
    this.call('GetAvailableProviders', list, count)
    const names = koffi.decode(list[0]!, koffi.array('str', count[0])) as string[]
    this.call('ReleaseAvailableProviders', list[0], count[0])
    return names
  }
}

let loaded: Api | undefined

/** The library, loaded at the first call. */
export function api(): Api {
  loaded ??= new Api()
  return loaded
}

/** Texts as a `char **` (or `wchar_t **` where `wide`). The result must be kept as long as it is used. */
export function texts(list: readonly string[], wide = false): { addresses: BigUint64Array; kept: unknown } {
  const kept = list.map((text) => Buffer.from(`${text}\0`, wide ? 'utf16le' : 'utf8'))
  return { addresses: BigUint64Array.from(kept, (bytes) => koffi.address(bytes)), kept }
}

export const addressOf = (bytes: ArrayBufferView): Pointer => koffi.address(bytes)
