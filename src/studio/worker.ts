/** The engine's thread of the studio: the server's functions, and the operations of the pages. */
import { type MessagePort, workerData } from 'node:worker_threads'
import { invalid } from '../serve/errors.ts'
import { Host, type HostOptions } from '../serve/host/host.ts'
import { expose } from '../serve/port.ts'
import type { Bench } from './operation.ts'
import { operations } from './operations/index.ts'
import { saeFolders } from './saeFolders.ts'
import { steerFolder } from './steerFolder.ts'

export interface StudioOptions extends HostOptions {
  readonly folder: string
  readonly results: string
}

export interface Asked {
  readonly name: string
  readonly input: unknown
}

const { port, options } = workerData as { port: MessagePort; options: StudioOptions }
const host = new Host(options)
const bench: Bench = {
  pool: host.pool,
  saes: saeFolders(options.saes ?? {}),
  steers: steerFolder(options.folder),
  folder: options.folder,
  results: options.results,
}

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value

const studio = {
  /** What an operation gives, item by item; one that is no stream has one item. */
  async *operate({ name, input }: Asked, signal: AbortSignal): AsyncGenerator<unknown, void, void> {
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined
    if (!operation) throw invalid(`there is no operation '${name}'`)
    const read = operation.input.safeParse(input)
    if (!read.success) {
      const [issue] = read.error.issues
      throw invalid(`${issue!.path.join('.') || name}: ${issue!.message}`)
    }
    try {
      const result = await operation.run(bench, read.data, signal)
      if (isStream(result)) yield* result
      else yield result
    } catch (error) {
      if (signal.aborted) return
      // Whoever looks at a page can do something about most of what goes wrong, and is to read it.
      throw error instanceof ReferenceError ? error : invalid((error as Error).message)
    }
  },
}
export type StudioService = Host['service'] & typeof studio

expose(port, { ...host.service, ...studio })
