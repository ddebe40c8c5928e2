/** What the server does with callers that are many, slow, gone, unknown or hostile. */
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { random } from '../../src/array/index.ts'
import type { Serving } from '../../src/serve/index.ts'
import { clientOf, type Json, models, spawnServer, startServer } from './serving.ts'

let server: Serving
beforeAll(async () => {
  server = await startServer({
    bodyLimit: 2 ** 16,
    batch: { slots: 4, queue: 6 },
    apiKeys: ['first', 'second'],
  })
})
afterAll(() => server.close(0))

const post = (
  body: unknown,
  { path = 'completions', key = 'first', signal = undefined as AbortSignal | undefined } = {},
) =>
  fetch(`${server.url}/v1/${path}`, {
    method: 'POST',
    body: typeof body === 'string' ? body : JSON.stringify(body),
    headers: { Authorization: `Bearer ${key}` },
    ...(signal && { signal }),
  })

async function figures(): Promise<{ running: number; queued: number }> {
  const response = await fetch(`${server.url}/metrics`, { headers: { Authorization: 'Bearer second' } })
  const text = await response.text()
  const read = (name: string): number =>
    Number(new RegExp(`^glossa_${name}\\{model="tiny"\\} (\\d+)`, 'm').exec(text)?.[1] ?? 0)
  return { running: read('running'), queued: read('queued') }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await holds()) return
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
  throw new Error('it never came true')
}

const long = { model: 'tiny', prompt: 'Once', max_tokens: 400, ignore_eos: true, stream: true }

describe('keys', () => {
  it('are needed everywhere but for the health of the server', async () => {
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
    for (const path of ['/v1/models', '/metrics', '/v1/completions']) {
      const none = await fetch(`${server.url}${path}`, {
        method: path.endsWith('s/completions') ? 'POST' : 'GET',
      })
      expect([path, none.status]).toEqual([path, 401])
    }
    expect((await post({ model: 'tiny', prompt: 'a' }, { key: 'third' })).status).toBe(401)
    expect((await post({ model: 'tiny', prompt: 'a', max_tokens: 1 }, { key: 'second' })).status).toBe(200)
    await expect(clientOf(server, 'firs').models.list()).rejects.toThrow(/API key/)
    expect((await clientOf(server, 'first').models.list()).data.length).toBe(3)
  })
})

describe('callers that leave', () => {
  it('free their rows', async () => {
    const controllers = Array.from({ length: 4 }, () => new AbortController())
    const responses = await Promise.all(controllers.map(({ signal }) => post(long, { signal })))
    await until(async () => (await figures()).running === 4)
    for (const controller of controllers) controller.abort()
    await until(async () => (await figures()).running === 0)
    await Promise.allSettled(responses.map((response) => response.text()))
    // And the next one is answered.
    const next = await post({ model: 'tiny', prompt: 'a', max_tokens: 2 })
    expect(next.status).toBe(200)
  })

  it('leave the queue too, which holds so many and no more', async () => {
    const controllers = Array.from({ length: 12 }, () => new AbortController())
    const asked = controllers.map(({ signal }) => post(long, { signal }).catch((error: Error) => error))
    await until(async () => (await figures()).queued === 6)
    const settled = await Promise.all(
      asked.map((response) =>
        Promise.race([response, new Promise((resolve) => setTimeout(() => resolve(undefined), 200))]),
      ),
    )
    const refused = settled.filter((one) => one instanceof Response && one.status === 429) as Response[]
    expect(refused.length).toBe(2)
    expect(refused[0]!.headers.get('retry-after')).toBe('1')
    expect(((await refused[0]!.json()) as Json).error.type).toBe('rate_limit_error')
    for (const controller of controllers) controller.abort()
    await until(async () => {
      const { running, queued } = await figures()
      return running + queued === 0
    })
    await Promise.allSettled(asked)
  })
})

describe('bodies', () => {
  it('have a largest size, whatever they say of it', async () => {
    const large = JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(2 ** 17) })
    expect((await post(large)).status).toBe(413)
    // In chunks, without a length.
    const status = await new Promise<number>((resolve, reject) => {
      const { hostname, port } = new URL(server.url)
      const request = httpRequest(
        {
          hostname,
          port,
          path: '/v1/completions',
          method: 'POST',
          headers: { Authorization: 'Bearer first' },
        },
        (response) => {
          response.resume()
          resolve(response.statusCode!)
        },
      )
      request.on('error', reject)
      for (let i = 0; i < 32; i++) request.write('x'.repeat(4096))
      request.end()
    })
    expect(status).toBe(413)
  })

  it('that are no HTTP end the connection, and nothing else', async () => {
    const { hostname, port } = new URL(server.url)
    for (const bytes of [
      '\0\0\0\0',
      'GET / HTTP/9.9\r\n\r\n',
      'POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n',
    ]) {
      await new Promise<void>((resolve) => {
        const socket = connect(Number(port), hostname, () => socket.write(bytes))
        socket.on('data', () => socket.end())
        socket.on('error', () => undefined)
        socket.on('close', () => resolve())
      })
    }
    expect((await fetch(`${server.url}/health`)).status).toBe(200)
  })

  it('of any kind are answered or refused, and memory stays', { timeout: 600_000 }, async () => {
    const own = await spawnServer(['-m', `tiny=${models.tiny.path}`, '--slots', '4', '--body-limit', '64'])
    const ask = (body: unknown, path: string, signal?: AbortSignal): Promise<Response> =>
      fetch(`${own.url}/v1/${path}`, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...(signal && { signal }),
      })
    const metrics = async (): Promise<string> => (await fetch(`${own.url}/metrics`)).text()
    const memory = async (): Promise<number> =>
      Number(/^process_resident_memory_bytes (\d+)/m.exec(await metrics())![1])
    const uniform = random.generator(3)
    const pick = <T>(values: readonly T[]): T => values[Math.floor(uniform() * values.length)]!
    const odd: readonly unknown[] = [
      null,
      '',
      'tiny',
      'a',
      [],
      {},
      -1,
      0,
      1e308,
      2 ** 53,
      true,
      ['a'],
      [[1]],
      [-5],
      { type: 'json_object' },
      '\u0000',
      '\ud800',
      '🦊'.repeat(50),
      [null],
      { a: { a: { a: 1 } } },
    ]
    const names = [
      'model',
      'prompt',
      'messages',
      'temperature',
      'top_p',
      'stop',
      'seed',
      'n',
      'logit_bias',
      'logprobs',
      'echo',
      'tools',
      'response_format',
      'grammar',
      'json_schema',
      'glossa',
      'stream_options',
      'max_tokens',
      'top_k',
      'mirostat',
      '__proto__',
      'constructor',
    ]
    const allowed = new Set([200, 400, 404, 413, 422, 429])
    // By 67 they are 10,000, as `npm run fuzz` asks for.
    const rounds = 15 * Number(process.env.GLOSSA_FUZZ_RUNS ?? 4)
    let before = 0
    const statuses = new Map<number, number>()
    for (let round = 0; round < rounds; round++) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, async () => {
          const path = pick(['completions', 'chat/completions', 'embeddings'])
          const base: Record<string, unknown> =
            path === 'completions'
              ? { model: 'tiny', prompt: 'a', max_tokens: 2 }
              : path === 'embeddings'
                ? { model: 'tiny', input: 'a' }
                : { model: 'tiny', messages: [{ role: 'user', content: 'a' }], max_tokens: 2 }
          for (let k = 0; k < 2 * uniform(); k++) base[pick(names)] = pick(odd)
          const text = JSON.stringify(base)
          const kind = uniform()
          if (kind < 0.02) {
            expect((await ask('x'.repeat(2 ** 17), path)).status).toBe(413)
            return 413
          }
          if (kind < 0.06) {
            // Gone before the answer.
            const gone = AbortSignal.timeout(Math.ceil(20 * uniform()))
            await ask({ ...long, ...base, stream: true }, path, gone)
              .then((response) => response.text())
              .catch(() => undefined)
            return 499
          }
          const cut = uniform() < 0.1 ? text.slice(0, Math.floor(uniform() * text.length)) : text
          const response = await ask(cut, path)
          const body = await response.text()
          if (!allowed.has(response.status)) throw new Error(`${response.status} for ${path} ${cut}: ${body}`)
          if (response.status !== 200) expect(JSON.parse(body).error.message).toEqual(expect.any(String))
          return response.status
        }),
      )
      // What is compiled and cached is there by then.
      if (round === Math.floor(rounds / 2)) before = await memory()
      for (const status of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    expect(statuses.get(200) ?? 0).toBeGreaterThan(20)
    expect(statuses.get(400) ?? 0).toBeGreaterThan(200)
    const growth = ((await memory()) - before) / 2 ** 20
    console.log(
      `${10 * rounds} requests: ${[...statuses].map(([status, n]) => `${status}: ${n}`).join(', ')}; memory ${growth.toFixed(0)} MiB more`,
    )
    expect(growth).toBeLessThan(100)
    await until(async () => /^glossa_running\{model="tiny"\} 0$/m.test(await metrics()))
    expect(await own.stop()).toBe(0)
  })
})

it('a request has so much time and no more', async () => {
  const hasty = await startServer({ timeout: 0.2, batch: { slots: 2 } })
  try {
    const warm = await fetch(`${hasty.url}/v1/models`)
    expect(warm.status).toBe(200)
    const response = await fetch(`${hasty.url}/v1/completions`, {
      method: 'POST',
      body: JSON.stringify({ ...long, stream: false, max_tokens: 450, n: 8 }),
    })
    expect([response.status, ((await response.json()) as Json).error.message]).toEqual([
      504,
      'no answer within 0.2 seconds',
    ])
  } finally {
    await hasty.close(0)
  }
})

it('models are opened when asked for, and closed when they are too many', async () => {
  const narrow = await startServer({ keep: 1, batch: { slots: 2 } })
  try {
    const loaded = async (): Promise<string[]> => {
      const { data } = (await (await fetch(`${narrow.url}/v1/models`)).json()) as Json
      return data.filter((model: Json) => model.glossa.loaded).map((model: Json) => model.id)
    }
    const ask = async (model: string): Promise<void> => {
      const response = await fetch(`${narrow.url}/v1/completions`, {
        method: 'POST',
        body: JSON.stringify({ model, prompt: 'One day', max_tokens: 3 }),
      })
      expect(response.status).toBe(200)
    }
    expect(await loaded()).toEqual([])
    await ask('tiny')
    expect(await loaded()).toEqual(['tiny'])
    await Promise.all([ask('small'), ask('tiny'), ask('small')])
    expect((await loaded()).length).toBe(1)
    await ask('tiny')
    expect(await loaded()).toEqual(['tiny'])
  } finally {
    await narrow.close(0)
  }
})
