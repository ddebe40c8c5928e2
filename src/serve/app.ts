/** The HTTP side: OpenAI's routes over the functions of a host. It runs nothing itself. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { cors } from 'hono/cors'
import { ApiError, apiError } from './errors.ts'
import type { Host } from './host/host.ts'
import { merged } from './host/merge.ts'
import type { CompletionEvent } from './host/types.ts'
import { Metrics } from './metrics.ts'
import { chatChunks, chatRequest, wholeChat } from './openai/chat.ts'
import { completionChunks, completionRequests, wholeCompletion } from './openai/completions.ts'
import { chatSchema, completionsSchema, embeddingsSchema, readRequest } from './openai/fields.ts'
import { newHead } from './openai/reply.ts'
import type { Connection } from './port.ts'

export type HostConnection = Connection<Host['service']>

export interface AppOptions {
  /** A request must have one of them, as `Authorization: Bearer KEY`. */
  readonly apiKeys?: readonly string[]
  /** Origins of pages that may call. */
  readonly cors?: readonly string[]
  /** Bytes of a request's body. */
  readonly bodyLimit?: number
  /** Seconds that an answer may take. */
  readonly timeout?: number
  /** Adds routes of somebody else's. */
  readonly mount?: (app: Hono) => void
}

/** Prompts of one request. */
const mostPrompts = 1024

export function createApp(host: HostConnection, options: AppOptions = {}): Hono {
  const { apiKeys = [], cors: origins = [], bodyLimit: maxSize = 2 ** 23, timeout = 600 } = options
  const app = new Hono()
  const metrics = new Metrics()

  app.onError((error, c) => answer(c, apiError(error)))
  app.notFound((c) => answer(c, new ApiError(404, `there is nothing at ${c.req.method} ${c.req.path}`)))
  if (origins.length > 0) app.use('*', cors({ origin: [...origins] }))
  app.use(
    '*',
    bodyLimit({
      maxSize,
      onError: (c) => answer(c, new ApiError(413, `the body is larger than ${maxSize} bytes`)),
    }),
  )
  app.get('/health', (c) => c.json({ status: 'ok' }))
  options.mount?.(app)
  if (apiKeys.length > 0) {
    const known = apiKeys.map(digest)
    app.use('*', async (c, next) => {
      const [, key] = /^Bearer +(.+)$/i.exec(c.req.header('authorization') ?? '') ?? []
      const own = digest(key ?? '')
      // All are compared, so that the time tells nothing.
      const found = known.map((one) => timingSafeEqual(one, own)).includes(true)
      if (!key || !found)
        throw new ApiError(
          401,
          key ? 'the API key is not known here' : 'an API key is needed: Authorization: Bearer KEY',
          {
            code: 'invalid_api_key',
          },
        )
      await next()
    })
  }

  /** Ends with the connection, and with the time. */
  const signalOf = (c: Context): AbortSignal =>
    AbortSignal.any([c.req.raw.signal, AbortSignal.timeout(1000 * timeout)])

  app.get('/metrics', async (c) => c.text(await metrics.text(await host.call('stats', undefined))))

  const listed = async (): Promise<object[]> =>
    (await host.call('models', undefined)).map(({ id, kind, loaded, created }) => ({
      ...{ id, object: 'model', created, owned_by: 'glossa' },
      glossa: { kind, loaded },
    }))
  app.get('/v1/models', async (c) => c.json({ object: 'list', data: await listed() }))
  app.get('/v1/models/:id{.+}', async (c) => {
    const id = c.req.param('id')
    const found = (await listed()).find((model) => (model as { id: string }).id === id)
    if (!found)
      throw new ApiError(404, `there is no model '${id}'`, { param: 'model', code: 'model_not_found' })
    return c.json(found)
  })

  app.post('/v1/completions', async (c) => {
    const watch = metrics.request('completions')
    try {
      const body = readRequest(completionsSchema, await json(c))
      const requests = completionRequests(body, callerOf(c))
      if (requests.length > mostPrompts)
        throw new ApiError(400, `${requests.length} prompts; at most ${mostPrompts} in one request`, {
          param: 'prompt',
        })
      const signal = signalOf(c)
      const streams = requests.map((request) =>
        watched(host.stream('complete', request, signal), watch.event),
      )
      const head = newHead('cmpl', body.model)
      if (body.stream) return await sse(completionChunks(head, body, await begun(streams), merged), watch.end)
      const whole = await wholeCompletion(head, body, streams, () => {})
      watch.end(200)
      return c.json(whole)
    } catch (error) {
      watch.end(apiError(timedOut(error, timeout)).status)
      throw timedOut(error, timeout)
    }
  })

  app.post('/v1/chat/completions', async (c) => {
    const watch = metrics.request('chat')
    try {
      const body = readRequest(chatSchema, await json(c))
      const request = chatRequest(body, callerOf(c))
      const events = watched(host.stream('complete', request, signalOf(c)), watch.event)
      const head = newHead('chatcmpl', body.model)
      if (body.stream) {
        const [first] = await begun([events])
        return await sse(chatChunks(head, body, first!), watch.end)
      }
      const whole = await wholeChat(head, body, events, () => {})
      watch.end(200)
      return c.json(whole)
    } catch (error) {
      watch.end(apiError(timedOut(error, timeout)).status)
      throw timedOut(error, timeout)
    }
  })

  app.post('/v1/embeddings', async (c) => {
    const watch = metrics.request('embeddings')
    try {
      const { model, input, encoding_format: format } = readRequest(embeddingsSchema, await json(c))
      const inputs =
        typeof input === 'string' || typeof input[0] === 'number'
          ? [input as string | number[]]
          : (input as (string | number[])[])
      if (inputs.length > mostPrompts)
        throw new ApiError(400, `${inputs.length} inputs; at most ${mostPrompts} in one request`, {
          param: 'input',
        })
      const { vectors, tokens } = await host.call('embed', { model, inputs }, signalOf(c))
      watch.end(200)
      return c.json({
        object: 'list',
        model,
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding:
            format === 'base64'
              ? Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
              : [...vector],
        })),
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      })
    } catch (error) {
      watch.end(apiError(timedOut(error, timeout)).status)
      throw timedOut(error, timeout)
    }
  })

  // llama.cpp's, with the model named.
  app.post('/tokenize', async (c) => {
    const { model, content } = (await json(c)) as { model?: unknown; content?: unknown }
    if (typeof model !== 'string' || typeof content !== 'string')
      throw new ApiError(400, "'model' and 'content' must be texts")
    return c.json({ tokens: await host.call('tokenize', { model, text: content }) })
  })
  app.post('/detokenize', async (c) => {
    const { model, tokens } = (await json(c)) as { model?: unknown; tokens?: unknown }
    if (typeof model !== 'string' || !Array.isArray(tokens) || !tokens.every(Number.isInteger))
      throw new ApiError(400, "'model' must be a text and 'tokens' a list of ids")
    return c.json({ content: await host.call('detokenize', { model, tokens }) })
  })
  return app
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

const answer = (c: Context, error: ApiError): Response => {
  if (error.status === 429) c.header('Retry-After', '1')
  return c.json(error.body, error.status as 400)
}

const timedOut = (error: unknown, seconds: number): unknown =>
  error instanceof DOMException && error.name === 'TimeoutError'
    ? new ApiError(504, `no answer within ${seconds} seconds`)
    : error

async function json(c: Context): Promise<unknown> {
  const text = await c.req.text()
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ApiError(400, `the body is not JSON: ${(error as Error).message}`)
  }
}

/** Who asks: by key, or by address. */
function callerOf(c: Context): string {
  const key = c.req.header('authorization')
  if (key) return digest(key).toString('base64')
  const { incoming } = (c.env ?? {}) as { incoming?: { socket?: { remoteAddress?: string } } }
  return incoming?.socket?.remoteAddress ?? ''
}

async function* watched(
  events: AsyncIterable<CompletionEvent>,
  onEvent: (event: CompletionEvent) => void,
): AsyncGenerator<CompletionEvent, void, void> {
  for await (const event of events) {
    onEvent(event)
    yield event
  }
}

/** Streams whose first items are there: what fails before is an answer with its status, not half a stream. */
async function begun<T>(streams: readonly AsyncGenerator<T, void, void>[]): Promise<AsyncIterable<T>[]> {
  const firsts = await Promise.allSettled(streams.map((stream) => stream.next()))
  const failed = firsts.find((one) => one.status === 'rejected')
  if (failed) {
    await Promise.all(streams.map((stream) => stream.return()))
    throw failed.reason
  }
  return streams.map(async function* (stream, i) {
    const first = (firsts[i] as PromiseFulfilledResult<IteratorResult<T, void>>).value
    if (first.done) return
    try {
      yield first.value
      yield* stream
    } finally {
      await stream.return()
    }
  })
}

/** Server-sent events: a chunk each, `[DONE]` at the end. The reader's pace is that of the stream. */
async function sse(
  chunks: AsyncGenerator<object, void, void>,
  end: (status: number) => void,
): Promise<Response> {
  const encoder = new TextEncoder()
  let ended = false
  const finish = (status: number): void => {
    if (!ended) end(status)
    ended = true
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next()
        if (!done) {
          controller.enqueue(encoder.encode(`data: ${JSON.stringify(value)}\n\n`))
          return
        }
        finish(200)
        controller.enqueue(encoder.encode('data: [DONE]\n\n'))
      } catch (error) {
        // The status has been sent: the error goes into the stream.
        const failed = apiError(error)
        finish(failed.status)
        controller.enqueue(encoder.encode(`data: ${JSON.stringify(failed.body)}\n\n`))
      }
      controller.close()
    },
    async cancel() {
      // Closed by the client (nginx's number).
      finish(499)
      await chunks.return()
    },
  })
  return new Response(body, {
    headers: {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-cache',
      // Proxies are not to collect it.
      'X-Accel-Buffering': 'no',
    },
  })
}
