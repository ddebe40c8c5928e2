// Browser workers for libraries that know no others. Node has threads and shared memory but not the browser's
// `Worker`, `Blob` URLs that a worker can run, or (before Node 21) `navigator`; without them tfjs and jax-js use
// one thread.

import { Worker } from 'node:worker_threads'

/** Makes `globalThis.Worker` one that runs the source text it is given; assignments to it are ignored. */
export function provideWorker(WorkerClass) {
  Object.defineProperty(globalThis, 'Worker', { configurable: true, get: () => WorkerClass, set() {} })
}

/** `new Worker(URL.createObjectURL(new Blob([source])))` as in a browser, and `navigator.hardwareConcurrency`. */
export function provideBrowserWorkers(threads) {
  const sources = new Map()
  const inside = `
    const { parentPort } = require('node:worker_threads')
    globalThis.self = globalThis
    globalThis.postMessage = (message) => parentPort.postMessage(message)
    parentPort.on('message', (data) => globalThis.onmessage({ data }))
  `
  globalThis.Blob = class extends Blob {
    constructor(parts, options) {
      super(parts, options)
      this.source = parts.join('')
    }
  }
  URL.createObjectURL = (blob) => {
    const url = `blob:peer/${sources.size}`
    sources.set(url, blob.source)
    return url
  }
  URL.revokeObjectURL = () => {}
  provideWorker(
    class extends Worker {
      constructor(url) {
        super(inside + sources.get(url), { eval: true })
        this.on('message', (data) => this.onmessage?.({ data }))
        this.on('error', (error) => this.onerror?.(error))
      }
    },
  )
  Object.defineProperty(globalThis, 'navigator', {
    configurable: true,
    value: { hardwareConcurrency: threads },
  })
}
