/** The engine's thread: a host behind the port that it is given. */
import { type MessagePort, workerData } from 'node:worker_threads'
import { Host, type HostOptions } from './host/host.ts'
import { expose } from './port.ts'

const { port, options } = workerData as { port: MessagePort; options: HostOptions }
expose(port, new Host(options).service)
