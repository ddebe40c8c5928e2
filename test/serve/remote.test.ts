/** A text model behind the server says what the same model says here. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { textModel } from '../../src/decode/index.ts'
import { asking, explainBy } from '../../src/interp/sae/explain/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { Endpoint, EndpointError, remoteModel, type TextModel } from '../../src/remote/index.ts'
import type { Serving } from '../../src/serve/index.ts'
import { models, startServer } from './serving.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const here = textModel(Model.open(models.tiny.path, engine))
let server: Serving
let there: TextModel
beforeAll(async () => {
  server = await startServer()
  there = remoteModel({ baseURL: `${server.url}/v1/`, model: 'tiny' })
})
afterAll(() => Promise.all([server.close(0), engine.dispose()]))

describe('a remote model', () => {
  it('completes as the local one', async () => {
    const prompts = ['Once upon a time', 'The cat', [{ role: 'user' as const, content: 'A bird flew' }]]
    for (const options of [
      { temperature: 0, maxTokens: 12 },
      { temperature: 0.8, seed: 3, samples: 2, maxTokens: 10, stop: ['.'], topP: 0.9 },
    ]) {
      const given = prompts.slice(0, 2)
      expect(await there.complete(given, options)).toEqual(await here.complete(given, options))
    }
    const [chat] = await there.complete([prompts[2]!], { temperature: 0, maxTokens: 8 })
    expect(chat).toEqual((await here.complete([prompts[2]!], { temperature: 0, maxTokens: 8 }))[0])
    const schema = {
      type: 'object',
      properties: { n: { type: 'integer' } },
      required: ['n'],
      additionalProperties: false,
    }
    const limited = { temperature: 1, seed: 1, maxTokens: 30, jsonSchema: schema }
    expect(await there.complete(['Number'], limited)).toEqual(await here.complete(['Number'], limited))
  })

  it('scores as the local one', async () => {
    const pairs = [
      ['The cat sat on the', ' mat.'],
      ['Lily went', ' to the park with her mom.'],
      ['Once upon a', 'live'],
      ['', 'A dog barked.'],
      ['Tom was happy.', ''],
    ] as const
    const [own, theirs] = [await here.score(pairs), await there.score(pairs)]
    for (const [i, score] of own.entries()) {
      expect(theirs[i]!.logprob).toBeCloseTo(score.logprob, 3)
      expect(theirs[i]).toMatchObject({ tokens: score.tokens, greedy: score.greedy })
    }
  })

  it('embeds as the local one', async () => {
    const texts = ['a cat', 'a dog']
    const [own, theirs] = [await here.embed(texts), await there.embed(texts)]
    for (const [i, vector] of own.entries())
      for (const [k, x] of vector.entries()) expect(theirs[i]![k]).toBeCloseTo(x, 4)
  })

  it('explains features like any other', async () => {
    const contexts = [{ tokens: [1, 2, 3], activations: [0, 2, 0] }] as never
    const decode = (ids: readonly number[]): string => ids.join(' ')
    const [own, theirs] = await Promise.all(
      [here, there].map((model) => explainBy(asking(model, 8), contexts, decode)),
    )
    expect(theirs).toBe(own)
  })
})

describe('an endpoint', () => {
  let odd: Server
  let answers: ((attempt: number) => { status: number; body: string; headers?: Record<string, string> })[] =
    []
  let attempts = 0
  beforeAll(async () => {
    odd = createServer((_, response) => {
      const { status, body, headers } = answers[0]!(attempts++)
      response.writeHead(status, headers).end(body)
    })
    await new Promise<void>((resolve) => odd.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => odd.close())
  const ask = async (answer: (typeof answers)[0], retries = 2): Promise<unknown> => {
    answers = [answer]
    attempts = 0
    const { port } = odd.address() as AddressInfo
    return new Endpoint({ baseURL: `http://127.0.0.1:${port}/v1`, retries }).post('/x', {})
  }

  it('tries again where that can help, and only there', async () => {
    expect(await ask((n) => (n < 2 ? { status: 503, body: '' } : { status: 200, body: '{"a":1}' }))).toEqual({
      a: 1,
    })
    expect(attempts).toBe(3)
    await expect(ask(() => ({ status: 500, body: '{"error":{"message":"broken"}}' }), 1)).rejects.toThrow(
      'broken',
    )
    expect(attempts).toBe(2)
    await expect(ask(() => ({ status: 400, body: '{"detail":"no"}' }))).rejects.toThrow('no')
    expect(attempts).toBe(1)
  })

  it('names what is not JSON, not there, or broken off', async () => {
    await expect(ask(() => ({ status: 200, body: '<html>' }))).rejects.toThrow(/not JSON: <html>/)
    const nobody = new Endpoint({ baseURL: 'http://127.0.0.1:1/v1', retries: 0 })
    const failed = await nobody.post('/x', {}).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(EndpointError)
    expect(failed).toMatchObject({ status: 0, message: expect.stringMatching(/cannot be reached/) })
    expect(() => new Endpoint({ baseURL: 'localhost' })).toThrow(/no address/)
    answers = [() => ({ status: 200, body: 'data: {"a":1}\n\n' })]
    const { port } = odd.address() as AddressInfo
    const got: unknown[] = []
    const read = async (): Promise<void> => {
      for await (const value of new Endpoint({ baseURL: `http://127.0.0.1:${port}/v1` }).stream('/x', {}))
        got.push(value)
    }
    await expect(read()).rejects.toThrow(/broke off/)
    expect(got).toEqual([{ a: 1 }])
    answers = [() => ({ status: 200, body: 'data: {"error":{"message":"too long"}}\n\n' })]
    await expect(read()).rejects.toThrow('too long')
  })
})
