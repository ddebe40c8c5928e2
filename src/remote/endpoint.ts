/** An OpenAI-compatible endpoint over HTTP: glossa serve, vLLM, SGLang, llama-server, or somebody's cloud. */
import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface EndpointOptions {
  /** With its version: `http://127.0.0.1:8080/v1`. */
  readonly baseURL: string
  readonly apiKey?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** Instead of the global one. */
  readonly fetch?: typeof globalThis.fetch
  /** Further tries where the server is busy, fails or cannot be reached. */
  readonly retries?: number
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined
}

/** An answer that is none. */
export class EndpointError extends Error {
  override readonly name = 'EndpointError'
  readonly url: string
  /** 0 where nothing has answered. */
  readonly status: number
  readonly body: string
  readonly headers: Headers

  constructor(
    message: string,
    parts: { url: string; status: number; body: string; headers: Headers; cause?: unknown },
  ) {
    super(message, { cause: parts.cause })
    this.url = parts.url
    this.status = parts.status
    this.body = parts.body
    this.headers = parts.headers
  }

  /** Whether the same request can succeed later. */
  get retryable(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500
  }
}

/** First pause before another try, in milliseconds; each one doubles it. */
const firstPause = 250

export class Endpoint {
  readonly #options: EndpointOptions

  constructor(options: EndpointOptions) {
    if (!URL.canParse(options.baseURL))
      throw new TypeError(`'${options.baseURL}' is no address; one looks like http://127.0.0.1:8080/v1`)
    this.#options = options
  }

  url(path: string): string {
    return `${this.#options.baseURL.replace(/\/+$/, '')}${path}`
  }

  /** The answer as JSON. */
  async get(path: string, call: CallOptions = {}): Promise<unknown> {
    return this.#json(await this.#request(path, undefined, call), path)
  }

  async post(path: string, body: object, call: CallOptions = {}): Promise<unknown> {
    return this.#json(await this.#request(path, body, call), path)
  }

  /** The data of server-sent events, as JSON, until `[DONE]`. An error among them is thrown. */
  async *stream(path: string, body: object, call: CallOptions = {}): AsyncGenerator<unknown, void, void> {
    const response = await this.#request(path, body, call)
    if (!response.body) throw this.#error('there is no body', path, response, '')
    const events = response.body
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream())
    let ended = false
    for await (const { data } of events) {
      ended = data === '[DONE]'
      if (ended) break
      const value = this.#parse(data, path, response)
      const { error } = value as { error?: { message?: string } }
      if (error) throw this.#error(error.message ?? data, path, response, data)
      yield value
    }
    if (!ended) throw this.#error('the stream broke off', path, response, '')
  }

  async #request(path: string, body: object | undefined, call: CallOptions): Promise<Response> {
    const { retries = 2 } = this.#options
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(path, body, call)
      } catch (error) {
        if (!(error instanceof EndpointError) || !error.retryable || attempt >= retries) throw error
        const asked = Number(error.headers.get('retry-after'))
        await pause(asked > 0 ? 1000 * asked : firstPause * 2 ** attempt, call.signal)
      }
    }
  }

  async #once(path: string, body: object | undefined, { signal, headers }: CallOptions): Promise<Response> {
    const { fetch = globalThis.fetch, apiKey, headers: always } = this.#options
    const url = this.url(path)
    const sent = new Headers(always)
    if (body) sent.set('Content-Type', 'application/json')
    if (apiKey) sent.set('Authorization', `Bearer ${apiKey}`)
    for (const [name, value] of Object.entries(headers ?? {})) if (value !== undefined) sent.set(name, value)
    let response: Response
    try {
      response = await fetch(url, {
        method: body ? 'POST' : 'GET',
        headers: sent,
        ...(body && { body: JSON.stringify(body) }),
        ...(signal && { signal }),
      })
    } catch (cause) {
      signal?.throwIfAborted()
      const reason = (cause as { cause?: Error }).cause?.message || (cause as Error).message
      throw new EndpointError(`${url} cannot be reached: ${reason}`, {
        ...{ url, status: 0, body: '', headers: new Headers(), cause },
      })
    }
    if (response.ok) return response
    const text = await response.text()
    throw this.#error(messageIn(text) ?? `${response.status} ${response.statusText}`, path, response, text)
  }

  async #json(response: Response, path: string): Promise<unknown> {
    return this.#parse(await response.text(), path, response)
  }

  #parse(text: string, path: string, response: Response): unknown {
    try {
      return JSON.parse(text)
    } catch {
      throw this.#error(`the answer is not JSON: ${text.slice(0, 80)}`, path, response, text)
    }
  }

  #error(message: string, path: string, { status, headers }: Response, body: string): EndpointError {
    return new EndpointError(message, { url: this.url(path), status, body, headers })
  }
}

/** OpenAI's error, or that of FastAPI. */
function messageIn(text: string): string | undefined {
  try {
    const { error, message, detail } = JSON.parse(text) as Record<string, unknown>
    const found =
      typeof error === 'object' && error
        ? (error as { message?: unknown }).message
        : (error ?? message ?? detail)
    return typeof found === 'string' ? found : undefined
  } catch {
    return undefined
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    const stop = (): void => {
      clearTimeout(timer)
      reject(signal!.reason)
    }
    signal?.addEventListener('abort', stop, { once: true })
  })
}
