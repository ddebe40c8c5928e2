/** Operations of the studio: whole, or item by item as they come. */
import { type Connection, connect } from '../../src/serve/port.ts'
import type { StaticService } from '../static/worker.ts'

/** Without a server, the engine runs in a worker of the page. */
const inPage = import.meta.env.MODE === 'static' ? startWorker() : undefined

/** Items of an operation. Aborting the signal ends it there too. */
export const stream = <T>(
  name: string,
  input: object,
  signal?: AbortSignal,
): AsyncGenerator<T, void, void> =>
  inPage
    ? (inPage.stream(
        'operate',
        { name, input: JSON.parse(JSON.stringify(input)) as object },
        signal,
      ) as AsyncGenerator<T, void, void>)
    : overHttp<T>(name, input, signal)

function startWorker(): Connection<StaticService> {
  const worker = new Worker(new URL('../static/worker.ts', import.meta.url), { type: 'module' })
  return connect<StaticService>(worker)
}

async function* overHttp<T>(
  name: string,
  input: object,
  signal?: AbortSignal,
): AsyncGenerator<T, void, void> {
  const response = await fetch(`/studio/api/${name}`, {
    method: 'POST',
    body: JSON.stringify(input),
    ...(signal && { signal }),
  })
  const text = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value = '' } = await text.read()
      const lines = (rest + value).split('\n')
      rest = lines.pop()!
      if (done && rest) lines.push(rest)
      for (const line of lines) {
        const item = JSON.parse(line) as Awaited<T>
        const { error } = (item ?? {}) as { error?: { message?: string } }
        if (error?.message) throw new Error(error.message)
        yield item
      }
      if (done) return
    }
  } finally {
    await text.cancel().catch(() => undefined)
  }
}

export async function call<T>(name: string, input: object = {}, signal?: AbortSignal): Promise<T> {
  for await (const item of stream<T>(name, input, signal)) return item
  throw new Error(`${name}: there is no answer`)
}

export const message = (error: unknown): string => (error instanceof Error ? error.message : String(error))
export const aborted = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'AbortError'
