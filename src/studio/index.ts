/** The studio: pages on the models, and the server's routes beside them. */
import { readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Hono } from 'hono'
import {
  ApiError,
  apiError,
  type Connection,
  type ServeOptions,
  type Serving,
  serve,
} from '../serve/index.ts'
import type { StudioOptions, StudioService } from './worker.ts'

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
  '.woff2': 'font/woff2',
}

/** The pages as they were built, `npm run build`. */
const pages = fileURLToPath(new URL('../../dist/studio-pages', import.meta.url))

export interface StudioSettings extends ServeOptions, Pick<StudioOptions, 'folder' | 'results'> {}

export const startStudio = (settings: StudioSettings): Promise<Serving> =>
  serve({
    ...settings,
    worker: new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
    mount: (app, connection) => mountStudio(app, connection as unknown as Connection<StudioService>),
  })

function mountStudio(app: Hono, connection: Connection<StudioService>): void {
  // A page of somebody else's is not to use what runs here, not by its own name for this address either.
  app.use('/studio/*', async (c, next) => {
    const host = (c.req.header('host') ?? '').replace(/:\d+$/, '')
    const origin = c.req.header('origin')
    const own = ['127.0.0.1', 'localhost', '[::1]']
    if (!own.includes(host) || (origin && !own.includes(new URL(origin).hostname)))
      throw new ApiError(403, 'the studio answers pages of this machine alone')
    await next()
  })
  app.post('/studio/api/:operation', async (c) => {
    let input: unknown
    try {
      input = await c.req.json()
    } catch (error) {
      throw new ApiError(400, `the body is not JSON: ${(error as Error).message}`)
    }
    const items = connection.stream('operate', { name: c.req.param('operation'), input }, c.req.raw.signal)
    const first = await items.next()
    const encoder = new TextEncoder()
    const line = (value: unknown): Uint8Array => encoder.encode(`${JSON.stringify(value ?? null)}\n`)
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        if (first.done) controller.close()
        else controller.enqueue(line(first.value))
      },
      async pull(controller) {
        try {
          const { done, value } = await items.next()
          if (!done) return controller.enqueue(line(value))
        } catch (error) {
          controller.enqueue(line(apiError(error).body))
        }
        controller.close()
      },
      async cancel() {
        await items.return()
      },
    })
    return new Response(body, {
      headers: { 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-cache' },
    })
  })
  app.get('/', (c) => page(c.req.path))
  app.get('/assets/:file', (c) => page(c.req.path))
}

function page(path: string): Response {
  const file = path === '/' ? 'index.html' : path
  if (!/^[\w./-]+$/.test(file) || file.includes('..')) throw new ApiError(404, `there is nothing at ${path}`)
  try {
    return new Response(readFileSync(join(pages, file)), {
      headers: { 'Content-Type': types[extname(file)] ?? 'application/octet-stream' },
    })
  } catch {
    throw new ApiError(
      404,
      path === '/' ? 'the pages are not built: npm run build' : `there is nothing at ${path}`,
    )
  }
}
