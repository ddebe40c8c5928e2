/** Tools in `glossa chat`. A grammar makes the model write the call that a test is about. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { finish, glossa, json, start } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-tools-'))
afterAll(() => rmSync(folder, { recursive: true }))
function write(name: string, content: unknown): string {
  const file = join(folder, name)
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}
const tools = write('tools.json', [
  {
    type: 'function',
    function: {
      name: 'weather',
      description: 'Tells the weather',
      parameters: { type: 'object', properties: { place: { type: 'string' } } },
    },
  },
])
// The notation of Hermes and Qwen; names of the tools, because each token of a prompt costs time.
const template = write(
  'hermes.jinja',
  `{% for tool in tools or [] %}{{ tool.function.name }} {% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}
{%- for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`,
)
const grammar = (name: string, text: string): string => write(name, `root ::= ${JSON.stringify(text)}\n`)
const call = '<tool_call>{"name": "weather", "arguments": {"place": "Oslo"}}</tool_call>'
const base = ['chat', '-m', 'models/starter', '--temp', '0', '-n', '120', '--threads', '1']
const chat = [...base, '--template', template, '--tools', tools]

interface Output {
  readonly message: { readonly content: string }
  readonly toolCalls: readonly object[]
  readonly toolCallError?: string
}

describe('glossa chat --tools', () => {
  it('gives the tools to the template and the calls as JSON', async () => {
    const ask = ['-p', 'Oslo?', '--grammar', grammar('one.gbnf', `Hm. ${call}`)]
    const { message, toolCalls, toolCallError } = await json<Output>(...chat, ...ask)
    expect(message.content).toBe('Hm.')
    expect(toolCalls).toEqual([{ name: 'weather', arguments: { place: 'Oslo' } }])
    expect(toolCallError).toBeUndefined()
    // Without tools the template has none to name, and a text is a text.
    const plain = await json<Output & { promptTokens: number[] }>(...base, '--template', template, ...ask)
    expect(plain.message.content).toBe(`Hm. ${call}`)
    expect(plain.toolCalls).toBeUndefined()
  })

  it('reports a call that cannot be read, and keeps what was written', async () => {
    const broken = 'Hm. <tool_call>{"name": "weather"}'
    const ask = ['-p', 'Oslo?', '--grammar', grammar('broken.gbnf', broken)]
    const { message, toolCalls, toolCallError } = await json<Output>(...chat, ...ask)
    expect(message.content).toBe(broken)
    expect(toolCalls).toEqual([])
    expect(toolCallError).toBe('tool call: <tool_call> has no end')
    const { stdout, stderr, code } = await glossa(...chat, ...ask)
    expect(code).toBe(0)
    expect(stdout).toBe(`${broken}\n`)
    expect(stderr).toContain('<tool_call> has no end')
  })

  it('takes results, and goes on after the last', async () => {
    const saved = join(folder, 'saved.json')
    // Short: the model's context is.
    const two = [1, 2].map((n) => `<tool_call>{"name":"f","arguments":{"n":${n}}}</tool_call>`).join('')
    const child = start([...chat, '--grammar', grammar('two.gbnf', two)])
    const lines = ['/tool early', 'Go', '/tool rain', '/tool sun', `/save ${saved}`, '/quit']
    const { stdout, stderr, code } = await finish(child, lines.map((line) => `${line}\n`).join(''))
    expect(code).toBe(0)
    expect(stderr).toContain('no tool call waits for a result')
    expect(stdout).toBe(`${two}\ncall f {"n":1}\ncall f {"n":2}\n`.repeat(2))
    const messages = JSON.parse(readFileSync(saved, 'utf8')) as Record<string, unknown>[]
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'tool', 'assistant'])
    const calls = messages[1]!.tool_calls as { id: string; function: object }[]
    expect(calls.map(({ function: f }) => f)).toEqual([
      { name: 'f', arguments: { n: 1 } },
      { name: 'f', arguments: { n: 2 } },
    ])
    expect(messages[2]).toEqual({
      role: 'tool',
      name: 'f',
      tool_call_id: calls[0]!.id,
      content: 'rain',
    })
    expect(messages[3]).toMatchObject({ tool_call_id: calls[1]!.id, content: 'sun' })
  })

  it('refuses what is no list of tools, and a template without them', async () => {
    const bad = write('bad.json', [{ type: 'function', function: { description: 'no name' } }])
    const wrong = await glossa(...base, '--template', template, '--tools', bad, '-p', 'x')
    expect(wrong.stderr).toMatch(/bad.json: not a list of tools: 0.function.name/)
    const text = await glossa(...base, '--template', template, '--tools', template, '-p', 'x')
    expect(text.stderr).toMatch(/not JSON/)
    const plain = write('plain.jinja', '{% for m in messages %}{{ m.content }}{% endfor %}')
    const none = await glossa(...base, '--template', plain, '--tools', tools, '-p', 'x')
    expect(none.stderr).toMatch(/tells the model of no tools/)
    expect([wrong.code, text.code, none.code]).toEqual([1, 1, 1])
  })
})
