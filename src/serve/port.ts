/**
 * Calls across a message port: what one thread offers, another one calls. For the engine, whose programs block their
 * thread, in a worker of Node or of a page. A function that gives an async iterable is a stream. Cancelling goes
 * along: the function's last argument is a signal.
 */

/** A MessagePort, of Node or of a browser, or a Worker's two ends in a browser. */
export interface Port {
  postMessage(message: unknown): void
  addEventListener(type: 'message', listener: (event: object) => void): void
  removeEventListener(type: 'message', listener: (event: object) => void): void
  start?(): void
}

/** Functions by name, of one value and a signal. Values are what a structured clone can copy. */
// biome-ignore lint/suspicious/noExplicitAny: functions differ in what they take
export type Service = { readonly [name: string]: (input: any, signal: AbortSignal) => unknown }

type Input<F> = F extends () => unknown
  ? undefined
  : F extends (input: infer I, ...rest: never[]) => unknown
    ? I
    : never
type Item<F> = F extends (...args: never[]) => AsyncIterable<infer T> ? T : never
type Value<F> = F extends (...args: never[]) => infer R ? Awaited<R> : never
type Streams<S> = {
  [K in keyof S]: S[K] extends (...args: never[]) => AsyncIterable<unknown> ? K : never
}[keyof S]
type Calls<S> = Exclude<keyof S, Streams<S>>

/** An error as it crosses: name and code are what the other side decides by. */
interface Fault {
  readonly name: string
  readonly message: string
  readonly stack?: string | undefined
  readonly code?: unknown
}

type Request =
  | { readonly id: number; readonly name: string; readonly input: unknown }
  | { readonly id: number; readonly cancel: true }
type Reply =
  | { readonly id: number; readonly kind: 'value' | 'item'; readonly value: unknown }
  | { readonly id: number; readonly kind: 'end' }
  | { readonly id: number; readonly kind: 'fault'; readonly fault: Fault }

const faultOf = (error: unknown): Fault => {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) }
  const { name, message, stack } = error
  return { name, message, stack, code: (error as { code?: unknown }).code }
}

function errorOf({ name, message, stack, code }: Fault): Error {
  const error = Object.assign(new Error(message), { name }, code !== undefined && { code })
  if (stack) error.stack = stack
  return error
}

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value

/** Offers the functions to the other end of the port. Gives what ends the offer and cancels what is running. */
export function expose(port: Port, service: Service): () => void {
  const running = new Map<number, AbortController>()
  const reply = (message: Reply): void => port.postMessage(message)

  const run = async (id: number, name: string, input: unknown): Promise<void> => {
    const controller = new AbortController()
    const { signal } = controller
    running.set(id, controller)
    try {
      if (!Object.hasOwn(service, name)) throw new Error(`there is no function '${name}' behind this port`)
      const result = service[name]!(input, signal)
      if (isStream(result)) {
        for await (const value of result) {
          if (signal.aborted) break
          reply({ id, kind: 'item', value })
        }
        reply({ id, kind: 'end' })
      } else reply({ id, kind: 'value', value: await result })
    } catch (error) {
      // A result that cannot be cloned is such an error too. After a cancellation nobody listens.
      reply({ id, kind: 'fault', fault: faultOf(error) })
    } finally {
      running.delete(id)
    }
  }

  const listen = (event: object): void => {
    const request = (event as { data: Request }).data
    if ('cancel' in request) running.get(request.id)?.abort()
    else void run(request.id, request.name, request.input)
  }
  port.addEventListener('message', listen)
  port.start?.()
  return () => {
    port.removeEventListener('message', listen)
    for (const controller of running.values()) controller.abort()
  }
}

export interface Connection<S extends Service> {
  /** Runs a function over there. Aborting rejects at once, and ends the function at its next look at its signal. */
  call<K extends Calls<S> & string>(name: K, input: Input<S[K]>, signal?: AbortSignal): Promise<Value<S[K]>>
  /** Runs a function that gives a stream. It begins with the first item asked for; leaving the loop cancels it. */
  stream<K extends Streams<S> & string>(
    name: K,
    input: Input<S[K]>,
    signal?: AbortSignal,
  ): AsyncGenerator<Item<S[K]>, void, void>
  /** Rejects what is running and all that comes: the other end is gone. */
  close(reason?: Error): void
}

/** What has come for one call and has not been taken. */
interface Pending {
  take(reply: Reply): void
  fail(error: unknown): void
}

export function connect<S extends Service>(port: Port): Connection<S> {
  const pending = new Map<number, Pending>()
  let next = 0
  let closed: Error | undefined
  const listen = (event: object): void => {
    const reply = (event as { data: Reply }).data
    pending.get(reply.id)?.take(reply)
  }
  port.addEventListener('message', listen)
  port.start?.()

  /** Sends a request; gives what takes the replies off. */
  const begin = (name: string, input: unknown, own: Pending): { id: number; drop(): void } => {
    if (closed) throw closed
    const id = next++
    // First: arguments that cannot be cloned throw.
    port.postMessage({ id, name, input } satisfies Request)
    pending.set(id, own)
    return { id, drop: () => pending.delete(id) }
  }

  return {
    async call(name, input, signal) {
      signal?.throwIfAborted()
      return new Promise((resolve, reject) => {
        const settle = (finish: () => void): void => {
          drop()
          signal?.removeEventListener('abort', cancel)
          finish()
        }
        const cancel = (): void => {
          port.postMessage({ id, cancel: true } satisfies Request)
          settle(() => reject(signal!.reason))
        }
        const { id, drop } = begin(name, input, {
          take: (reply) =>
            settle(() => {
              if (reply.kind === 'fault') reject(errorOf(reply.fault))
              else if (reply.kind === 'value') resolve(reply.value as never)
              else reject(new Error(`'${name}' gives a stream: use stream instead of call`))
            }),
          fail: (error) => settle(() => reject(error)),
        })
        signal?.addEventListener('abort', cancel)
      })
    },

    async *stream(name, input, signal) {
      signal?.throwIfAborted()
      const replies: Reply[] = []
      let wake: (() => void) | undefined
      let failed: { readonly error: unknown } | undefined
      let done = false
      const abort = (): void => own.fail(signal!.reason)
      const own: Pending = {
        take(reply) {
          replies.push(reply)
          wake?.()
        },
        fail(error) {
          failed ??= { error }
          wake?.()
        },
      }
      const { id, drop } = begin(name, input, own)
      signal?.addEventListener('abort', abort)
      try {
        for (;;) {
          if (failed) throw failed.error
          const reply = replies.shift()
          if (!reply) {
            await new Promise<void>((resolve) => {
              wake = resolve
            })
            continue
          }
          if (reply.kind !== 'item') done = true
          if (reply.kind === 'end') return
          if (reply.kind === 'fault') throw errorOf(reply.fault)
          if (reply.kind === 'value') throw new Error(`'${name}' gives no stream: use call instead`)
          yield reply.value as never
        }
      } finally {
        signal?.removeEventListener('abort', abort)
        drop()
        if (!done && !closed) port.postMessage({ id, cancel: true } satisfies Request)
      }
    },

    close(reason = new Error('the port is closed')) {
      closed = reason
      port.removeEventListener('message', listen)
      for (const { fail } of [...pending.values()]) fail(reason)
      pending.clear()
    },
  }
}
