/** The server: the engine in a thread of its own, and HTTP before it. */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MessageChannel, Worker } from 'node:worker_threads'
import { createAdaptorServer } from '@hono/node-server'
import type { Hono } from 'hono'
import { type AppOptions, createApp, type HostConnection } from './app.ts'
import type { HostOptions } from './host/host.ts'
import { connect } from './port.ts'

export interface ServeOptions extends HostOptions, Omit<AppOptions, 'mount'> {
  readonly host?: string
  /** 0 takes any that is free. */
  readonly port?: number
  /** The engine's thread, where it is another one: a module that exposes at least what a host does. */
  readonly worker?: URL
  /** Adds routes of somebody else's, over the same thread. */
  readonly mount?: (app: Hono, connection: HostConnection) => void
}

export interface Serving {
  readonly url: string
  readonly connection: HostConnection
  /** Takes no more requests, lets those that run end (for at most so many seconds), and stops. */
  close(patience?: number): Promise<void>
}

/** Starts the engine's thread. */
export function startHost(
  options: HostOptions,
  module?: URL,
): { connection: HostConnection; close(): Promise<void> } {
  const { port1, port2 } = new MessageChannel()
  const own = import.meta.url
  const file = module ?? new URL(own.endsWith('.ts') ? './worker.ts' : './worker.js', own)
  const workerOptions = { workerData: { port: port2, options }, transferList: [port2] }
  // From the sources, as in tests, through a loader that reads TypeScript.
  const worker = own.endsWith('.ts')
    ? new Worker(
        `import('tsx/esm/api').then(({ tsImport }) => tsImport(${JSON.stringify(file.href)}, ${JSON.stringify(own)}))`,
        { ...workerOptions, eval: true },
      )
    : new Worker(file, workerOptions)
  const connection: HostConnection = connect(port1)
  let closing = false
  worker.on('error', (error) => connection.close(error))
  worker.on('exit', (code) => {
    if (!closing) connection.close(new Error(`the engine's thread ended with code ${code}`))
  })
  return {
    connection,
    async close() {
      closing = true
      await connection.call('close', undefined).catch(() => undefined)
      connection.close()
      port1.close()
      await worker.terminate()
    },
  }
}

export async function serve(options: ServeOptions): Promise<Serving> {
  const {
    host = '127.0.0.1',
    port = 8080,
    apiKeys,
    cors,
    bodyLimit,
    timeout,
    mount,
    worker,
    ...engine
  } = options
  const { connection, close } = startHost(engine, worker)
  const app = createApp(connection, {
    ...(apiKeys && { apiKeys }),
    ...(cors && { cors }),
    ...(bodyLimit !== undefined && { bodyLimit }),
    ...(timeout !== undefined && { timeout }),
    ...(mount && { mount: (own: Hono) => mount(own, connection) }),
  })
  const server = createAdaptorServer({ fetch: app.fetch }) as Server
  // Slow senders do not hold connections.
  server.headersTimeout = 20_000
  server.requestTimeout = 60_000
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
  } catch (error) {
    await close()
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(code === 'EADDRINUSE' ? `port ${port} is taken: choose another one, --port N` : message)
  }
  const { port: bound } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    connection,
    async close(patience = 10) {
      const ended = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), 1000 * patience)
      await ended
      clearTimeout(timer)
      await close()
    },
  }
}
