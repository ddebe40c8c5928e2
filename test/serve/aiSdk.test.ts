/** The AI SDK over our provider: in this process, and over HTTP. */
import { APICallError, embedMany, generateObject, generateText, jsonSchema, streamText, tool } from 'ai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { createGlossa, type GlossaProvider } from '../../src/ai-sdk/index.ts'
import type { Serving } from '../../src/serve/index.ts'
import { fakeApp } from './fakeHost.ts'
import { clientOf, models, startServer } from './serving.ts'

let server: Serving
let local: GlossaProvider
let remote: GlossaProvider
beforeAll(async () => {
  server = await startServer()
  local = createGlossa({ models })
  remote = createGlossa({ baseURL: `${server.url}/v1` })
})
afterAll(() => Promise.all([local.close(), remote.close(), server.close(0)]))

const ask = { prompt: 'One day a dog', temperature: 0, maxOutputTokens: 16, maxRetries: 0 }

describe.each(['local', 'remote'] as const)('%s', (where) => {
  const provider = (): GlossaProvider => (where === 'local' ? local : remote)

  it('generates what the server does', async () => {
    const { choices } = await clientOf(server).chat.completions.create({
      model: 'tiny',
      messages: [{ role: 'user', content: ask.prompt }],
      temperature: 0,
      max_tokens: 16,
    })
    const { text, finishReason, usage, response } = await generateText({ model: provider()('tiny'), ...ask })
    expect(text).toBe(choices[0]!.message.content)
    expect(finishReason).toBe('length')
    expect(usage.outputTokens).toBe(16)
    expect(response.modelId).toBe('tiny')
  })

  it('streams', async () => {
    const { text } = await generateText({ model: provider()('tiny'), ...ask })
    const { textStream, finishReason, usage } = streamText({ model: provider()('tiny'), ...ask })
    const pieces: string[] = []
    for await (const piece of textStream) pieces.push(piece)
    expect(pieces.length).toBeGreaterThan(8)
    expect(pieces.join('')).toBe(text)
    expect(await finishReason).toBe('length')
    expect((await usage).outputTokens).toBe(16)
  })

  it('gives objects by a schema', async () => {
    const { object } = await generateObject({
      model: provider()('tiny'),
      schema: z.object({ animal: z.enum(['cat', 'dog', 'bird']), legs: z.int().min(0).max(9) }),
      prompt: 'A dog.',
      seed: 1,
      maxOutputTokens: 100,
    })
    expect(['cat', 'dog', 'bird']).toContain(object.animal)
  })

  it('embeds', async () => {
    const { embeddings, usage } = await embedMany({
      model: provider().embeddingModel('tiny'),
      values: ['a cat', 'a dog', 'a cat'],
    })
    expect(embeddings.length).toBe(3)
    expect(embeddings[0]).toEqual(embeddings[2])
    expect(usage.tokens).toBeGreaterThan(5)
  })

  it('passes methods, edits and taps through, and activations back', async () => {
    const site = 'blocks.0.hook_resid_post'
    const { providerMetadata, text } = await generateText({
      model: provider()('tiny'),
      ...ask,
      providerOptions: { glossa: { taps: [site], edits: [{ op: 'zero', site }] } },
    })
    const [tap] = providerMetadata!.glossa!.taps as { site: string; data: string }[]
    expect(tap!.site).toBe(site)
    const data = new Float32Array(Uint8Array.from(Buffer.from(tap!.data, 'base64')).buffer)
    expect(data.every((x) => x === 0)).toBe(true)
    expect(text).not.toBe((await generateText({ model: provider()('tiny'), ...ask })).text)
  })

  it('tells what is wrong', async () => {
    const failed = await generateText({ model: provider()('gpt-4'), ...ask }).catch((error: unknown) => error)
    expect(APICallError.isInstance(failed)).toBe(true)
    expect(failed).toMatchObject({
      statusCode: 404,
      isRetryable: false,
      message: expect.stringMatching(/no model 'gpt-4'/),
    })
    await expect(
      generateText({ model: provider()('tiny'), ...ask, providerOptions: { glossa: { wiht: ['x'] } } }),
    ).rejects.toThrow(/wiht/)
    await expect(
      generateText({
        model: provider()('tiny'),
        messages: [{ role: 'user', content: [{ type: 'image', image: new Uint8Array([137, 80, 78, 71]) }] }],
      }),
    ).rejects.toThrow(/image/)
  })

  it('ends when it is aborted', async () => {
    const controller = new AbortController()
    const { textStream } = streamText({
      model: provider()('tiny'),
      prompt: 'Once',
      maxOutputTokens: 400,
      abortSignal: controller.signal,
    })
    let count = 0
    for await (const _ of textStream) if (++count === 3) controller.abort()
    expect(count).toBeLessThan(100)
  })
})

describe('tools', () => {
  it.each([
    ['required' as const, ['clock', 'weather']],
    [{ type: 'tool' as const, toolName: 'weather' as const }, ['weather']],
    ['auto' as const, undefined],
  ])('toolChoice %o', async (toolChoice, names) => {
    const { app, requests } = fakeApp(['<tool_call>{"name": "weather", "arguments": {}}</tool_call>'])
    const glossa = createGlossa({
      baseURL: 'http://x/v1',
      fetch: (async (url: string, init: RequestInit) => app.fetch(new Request(url, init))) as typeof fetch,
    })
    const inputSchema = jsonSchema({ type: 'object', properties: {} })
    await generateText({
      ...{ model: glossa('any'), prompt: 'How is the weather?', toolChoice },
      tools: { clock: tool({ inputSchema }), weather: tool({ inputSchema }) },
    })
    const { constrain } = requests[0]! as { constrain?: { calls: { name: string }[] } }
    expect(constrain?.calls.map(({ name }) => name)).toEqual(names)
  })

  it('are called, and their results go back', async () => {
    const { app, requests } = fakeApp([
      'Let me see. <tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
      'It rains in Oslo.',
    ])
    const glossa = createGlossa({
      baseURL: 'http://x/v1',
      fetch: (async (url: string, init: RequestInit) => app.fetch(new Request(url, init))) as typeof fetch,
    })
    const { textStream, steps } = streamText({
      model: glossa('any'),
      prompt: 'How is the weather?',
      tools: {
        weather: tool({
          description: 'The weather of a city',
          inputSchema: jsonSchema<{ city: string }>({
            type: 'object',
            properties: { city: { type: 'string' } },
          }),
          execute: async ({ city }) => ({ city, sky: 'rain' }),
        }),
      },
      stopWhen: ({ steps }) => steps.length === 2,
    })
    let text = ''
    for await (const piece of textStream) text += piece
    expect(text).toBe('Let me see.It rains in Oslo.')
    const [first] = await steps
    expect(first!.toolCalls[0]).toMatchObject({ toolName: 'weather', input: { city: 'Oslo' } })
    expect(first!.finishReason).toBe('tool-calls')
    expect(requests[0]!.prompt).toMatchObject({ tools: [{ function: { name: 'weather' } }] })
    const { messages } = requests[1]!.prompt as { messages: object[] }
    expect(messages.slice(1)).toEqual([
      expect.objectContaining({
        role: 'assistant',
        tool_calls: [expect.objectContaining({ function: { name: 'weather', arguments: { city: 'Oslo' } } })],
      }),
      expect.objectContaining({ role: 'tool', content: '{"city":"Oslo","sky":"rain"}' }),
    ])
  })
})
