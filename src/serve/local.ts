/** Models of this process as an endpoint without a socket: what asks a server asks these the same way. */
import type { EndpointOptions } from '../remote/index.ts'
import { createApp } from './app.ts'
import type { HostOptions } from './host/host.ts'
import { startHost } from './server.ts'

export interface LocalEndpoint {
  readonly options: EndpointOptions
  /** Ends the engine's thread. */
  close(): Promise<void>
}

export function localEndpoint(options: Partial<HostOptions> & Pick<HostOptions, 'models'>): LocalEndpoint {
  const { connection, close } = startHost({ keep: 2, ...options })
  const app = createApp(connection)
  const fetch = (async (url: string, init: RequestInit) =>
    app.fetch(new Request(url, init))) as typeof globalThis.fetch
  return { options: { baseURL: 'http://glossa.invalid/v1', fetch }, close }
}
