/** Calls of tools in answers, as OpenAI's client reads them. */
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it } from 'vitest'
import { fakeApp } from './fakeHost.ts'
import { clientOf, models, startServer } from './serving.ts'

const call = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
const tools = [{ type: 'function' as const, function: { name: 'add', parameters: {} } }]
const messages = [{ role: 'user' as const, content: 'What is 1 + 2?' }]

function clientFor(answers: readonly string[]) {
  const { app, requests } = fakeApp(answers)
  const fetch = async (url: string | URL | Request, init?: RequestInit): Promise<Response> =>
    app.fetch(new Request(url, init))
  return { openai: new OpenAI({ baseURL: 'http://x/v1', apiKey: 'none', maxRetries: 0, fetch }), requests }
}

describe('calls of tools', () => {
  it('come whole', async () => {
    const { openai } = clientFor([`Well: ${call}${call}`])
    const { choices } = await openai.chat.completions.create({ model: 'm', messages, tools })
    expect(choices[0]!.finish_reason).toBe('tool_calls')
    expect(choices[0]!.message.content).toBe('Well:')
    const calls = choices[0]!.message.tool_calls!
    expect(calls.map((one) => (one as { function: object }).function)).toEqual([
      { name: 'add', arguments: '{"a":1,"b":2}' },
      { name: 'add', arguments: '{"a":1,"b":2}' },
    ])
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2)
  })

  it('come in a stream, which the client puts together', async () => {
    const { openai } = clientFor([call])
    const stream = openai.chat.completions.stream({ model: 'm', messages, tools })
    const message = await stream.finalMessage()
    expect(message.tool_calls![0]).toMatchObject({
      type: 'function',
      function: { name: 'add', arguments: '{"a":1,"b":2}' },
    })
  })

  it('that cannot be read are shown as they were written', async () => {
    const broken = '<tool_call>\n{"name": "add", "arguments": {"a": 1,\n</tool_call>'
    const { openai } = clientFor([broken])
    const answer = await openai.chat.completions.create({ model: 'm', messages, tools })
    expect(answer.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: broken },
      glossa: { tool_call_error: expect.stringMatching(/^tool call: /) },
    })
  })

  it('are text where no tools were given, or none are to be called', async () => {
    const { openai, requests } = clientFor([call, call])
    const plain = await openai.chat.completions.create({ model: 'm', messages })
    const none = await openai.chat.completions.create({ model: 'm', messages, tools, tool_choice: 'none' })
    expect([plain, none].map(({ choices }) => choices[0]!.message.content)).toEqual([call, call])
    expect(requests.every(({ prompt }) => !('tools' in prompt))).toBe(true)
  })

  it('go to the template with their arguments as objects', async () => {
    const { openai, requests } = clientFor(['3'])
    await openai.chat.completions.create({
      model: 'm',
      tools,
      messages: [
        { role: 'developer', content: 'Add.' },
        ...messages,
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: '3' }] },
      ],
    })
    expect(requests[0]!.prompt).toMatchObject({
      messages: [
        { role: 'system', content: 'Add.' },
        { role: 'user' },
        { role: 'assistant', content: '', tool_calls: [{ function: { arguments: { a: 1 } } }] },
        { role: 'tool', content: '3' },
      ],
    })
    await expect(
      openai.chat.completions.create({
        model: 'm',
        messages: [
          ...messages,
          {
            role: 'assistant',
            tool_calls: [{ id: 'c', type: 'function', function: { name: 'add', arguments: '{"a":' } }],
          },
        ],
      }),
    ).rejects.toThrow(/not JSON/)
  })
})

describe('calls that are asked for', () => {
  const weather = {
    type: 'function' as const,
    function: {
      name: 'weather',
      parameters: {
        type: 'object',
        properties: { city: { type: 'string', maxLength: 12 }, days: { enum: [1, 2, 3] } },
        required: ['city', 'days'],
      },
    },
  }
  const clock = { type: 'function' as const, function: { name: 'clock' } }

  it('are made by a real model that knows no tools: the grammar is that of its template', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'glossa-tools-')), 'tiny')
    cpSync(models.tiny.path, path, { recursive: true })
    const file = join(path, 'tokenizer_config.json')
    const template =
      '{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %} <tool_call>{# as Hermes #}{% endif %}'
    const settings = JSON.parse(readFileSync(file, 'utf8')) as object
    writeFileSync(file, JSON.stringify({ ...settings, chat_template: template }))
    const server = await startServer({ models: { tools: { path } } })
    try {
      const openai = clientOf(server)
      const ask = { model: 'tools', messages, tools: [clock, weather], temperature: 1, max_tokens: 200 }
      for (const seed of [1, 2, 3]) {
        const { choices } = await openai.chat.completions.create({
          ...{ ...ask, seed, tool_choice: { type: 'function' as const, function: { name: 'weather' } } },
        })
        expect(choices[0]!.finish_reason).toBe('tool_calls')
        const [made, ...more] = choices[0]!.message
          .tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
        expect([made!.function.name, more.length, choices[0]!.message.content]).toEqual(['weather', 0, null])
        const { city, days } = JSON.parse(made!.function.arguments) as { city: string; days: number }
        expect([typeof city, city.length <= 12, [1, 2, 3].includes(days)]).toEqual(['string', true, true])
      }
      const stream = openai.chat.completions.stream({ ...ask, seed: 4, tool_choice: 'required' })
      const message = await stream.finalMessage()
      expect(['clock', 'weather']).toContain(
        (message.tool_calls![0] as { function: { name: string } }).function.name,
      )
    } finally {
      await server.close(0)
    }
  })
})
