import { MessageChannel, Worker } from 'node:worker_threads'
import { afterEach, expect, it } from 'vitest'
import { type Connection, connect, expose } from '../../src/serve/port.ts'

const seen: string[] = []
const service = {
  add: async ([a, b]: readonly [number, number]) => a + b,
  refuse: async () => {
    throw Object.assign(new RangeError('too long'), { code: 'context' })
  },
  forever: (_: string, signal: AbortSignal) =>
    new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        seen.push('cancelled')
        reject(signal.reason)
      })
    }),
  async *count(to: number, signal: AbortSignal): AsyncGenerator<number> {
    try {
      for (let i = 0; i < to; i++) {
        signal.throwIfAborted()
        await new Promise((resolve) => setImmediate(resolve))
        yield i
      }
    } finally {
      seen.push('left')
    }
  },
  async *breaks(): AsyncGenerator<number> {
    yield 1
    throw new TypeError('half way')
  },
  functions: async () => () => 1,
}

let end: (() => void) | undefined
function pair(): Connection<typeof service> {
  const { port1, port2 } = new MessageChannel()
  const stop = expose(port1, service)
  const connection = connect<typeof service>(port2)
  end = () => {
    stop()
    connection.close()
    port1.close()
    port2.close()
  }
  return connection
}
afterEach(() => {
  end?.()
  seen.length = 0
})

it('calls, side by side, and gives what they give', async () => {
  const { call } = pair()
  const sums = await Promise.all([call('add', [1, 2]), call('add', [3, 4]), call('add', [5, 6])])
  expect(sums).toEqual([3, 7, 11])
})

it('hands errors over with name, message and code', async () => {
  const { call } = pair()
  await expect(call('refuse', undefined)).rejects.toMatchObject({
    name: 'RangeError',
    message: 'too long',
    code: 'context',
  })
  await expect(call('nothing' as 'refuse', undefined)).rejects.toThrow("there is no function 'nothing'")
  // What cannot be cloned is an error here, not silence.
  await expect(call('functions', undefined)).rejects.toThrow(/could not be cloned/)
  await expect(call('add', [(() => 1) as never, 1])).rejects.toThrow(/could not be cloned/)
})

it('streams in order, with other calls in between', async () => {
  const { call, stream } = pair()
  const items: number[] = []
  for await (const item of stream('count', 20)) {
    items.push(item)
    if (item === 5) expect(await call('add', [1, 1])).toBe(2)
  }
  expect(items).toEqual(Array.from({ length: 20 }, (_, i) => i))
  const broken = stream('breaks', undefined)
  expect(await broken.next()).toEqual({ value: 1, done: false })
  await expect(broken.next()).rejects.toThrow('half way')
})

it('names the other way of asking where the wrong one is used', async () => {
  const { call, stream } = pair()
  await expect(call('count' as 'add', [1, 2])).rejects.toThrow('use stream instead of call')
  await expect(stream('add' as 'count', [1, 2] as never).next()).rejects.toThrow('use call instead')
})

it('cancels by signal and by leaving the loop', async () => {
  const { call, stream } = pair()
  const controller = new AbortController()
  const waiting = call('forever', 'x', controller.signal)
  setImmediate(() => controller.abort(new Error('enough')))
  await expect(waiting).rejects.toThrow('enough')
  for await (const item of stream('count', 1e9)) if (item === 3) break
  await expect.poll(() => seen).toEqual(['cancelled', 'left'])

  const second = new AbortController()
  const counting = stream('count', 1e9, second.signal)
  await counting.next()
  second.abort(new Error('no more'))
  await expect(
    (async () => {
      for await (const _ of counting);
    })(),
  ).rejects.toThrow('no more')
  await expect.poll(() => seen).toEqual(['cancelled', 'left', 'left'])
  await expect(call('add', [1, 2], AbortSignal.abort(new Error('before')))).rejects.toThrow('before')
})

it('rejects what waits when the other end is gone', async () => {
  const connection = pair()
  const waiting = connection.call('forever', 'x')
  const streaming = connection.stream('count', 1e9)
  await streaming.next()
  connection.close(new Error('the worker has ended'))
  await expect(waiting).rejects.toThrow('the worker has ended')
  await expect(
    (async () => {
      for await (const _ of streaming);
    })(),
  ).rejects.toThrow('the worker has ended')
  await expect(connection.call('add', [1, 2])).rejects.toThrow('the worker has ended')
})

it('works between threads', async () => {
  const { port1, port2 } = new MessageChannel()
  const file = JSON.stringify(new URL('../../src/serve/port.ts', import.meta.url).href)
  const worker = new Worker(
    `import('tsx/esm/api').then(async ({ tsImport }) => {
      const { workerData } = await import('node:worker_threads')
      const { expose } = await tsImport(${file}, ${file})
      expose(workerData, { twice: async (x) => x.map((v) => 2 * v) })
    })`,
    { eval: true, workerData: port2, transferList: [port2] },
  )
  const { call } = connect<{ twice: (x: Float32Array) => Promise<Float32Array> }>(port1)
  expect(await call('twice', Float32Array.of(1, 2.5))).toEqual(Float32Array.of(2, 5))
  port1.close()
  await worker.terminate()
}, 60_000)
