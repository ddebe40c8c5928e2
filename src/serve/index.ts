/** Models served to others: an OpenAI-compatible server, and what it is made of. */
export { type AppOptions, createApp, type HostConnection } from './app.ts'
export * from './batch/index.ts'
export { ApiError, apiError } from './errors.ts'
export { Host, type HostOptions } from './host/host.ts'
export type { ModelSource } from './host/pool.ts'
export { type LocalEndpoint, localEndpoint } from './local.ts'
export { type Connection, connect, expose, type Port, type Service } from './port.ts'
export { type ServeOptions, type Serving, serve, startHost } from './server.ts'
