/** Damaged chat templates and tool calls: a text, or an Error that says what is wrong; no long wait, no large allocation. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { parseToolCalls, renderTemplate, ToolCallError } from '../../src/text/index.ts'
import { damage, damaged, factor, runs, strange } from './mutations.ts'

vi.setConfig({ testTimeout: 60_000 * factor })
const parameters = runs(300)

const { templates }: { templates: Readonly<Record<string, { source: string }>> } = JSON.parse(
  readFileSync(new URL('../fixtures/text/chat.json', import.meta.url), 'utf8'),
)
const sources = Object.values(templates).map(({ source }) => source)
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hé 🙂 {{ x }}' },
  { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f', arguments: { a: 1 } } }] },
]

function probe(source: string, variables: Readonly<Record<string, unknown>>): 'rendered' | 'refused' {
  const began = process.cpuUsage()
  const memory = process.resourceUsage().maxRSS
  let outcome: 'rendered' | 'refused' = 'rendered'
  try {
    const text = renderTemplate(source, variables)
    expect(typeof text).toBe('string')
  } catch (error) {
    expect((error as Error).message).toMatch(/^chat template: ./s)
    outcome = 'refused'
  }
  expect(process.cpuUsage(began).user / 1000, 'milliseconds').toBeLessThan(5000)
  expect((process.resourceUsage().maxRSS - memory) / 1024, 'MiB').toBeLessThan(512)
  return outcome
}

describe('chat templates', () => {
  it('with bytes changed', () => {
    const outcomes = new Set<string>()
    fc.assert(
      fc.property(fc.constantFrom(...sources), damage, (source, changes) => {
        const changed = damaged(Buffer.from(source), changes).toString('utf8')
        outcomes.add(probe(changed, { messages, bos_token: '<s>', add_generation_prompt: true }))
      }),
      parameters,
    )
    expect(outcomes.size).toBe(2)
  })

  it('made of parts of templates', () => {
    const pieces = [
      ...[
        '{% for m in messages %}',
        '{% endfor %}',
        '{% if x %}',
        '{% else %}',
        '{% endif %}',
        '{{ m.content }}',
      ],
      ...[
        '{{ ',
        ' }}',
        '{%',
        '%}',
        '{#',
        '#}',
        'messages',
        '[0]',
        '[-1]',
        '.role',
        '| trim',
        '| tojson',
        '| join(",")',
      ],
      ...[
        'range(10)',
        'range(1e9)',
        'range(5, 0, -1)',
        'range(0, 1, 0)',
        '"a" * 1000000000',
        '~',
        '+',
        '==',
        'is defined',
      ],
      ...[
        '{% set x = messages %}',
        '{% macro f(a) %}{{ f(a) }}{% endmacro %}{{ f(1) }}',
        'raise_exception("no")',
      ],
      ...[
        'strftime_now("%Y")',
        'strftime_now("%Q")',
        'namespace(a=1)',
        '"x".split("")',
        '(',
        ')',
        'none',
        '1/0',
        "'",
      ],
      ...[
        '{% for i in range(100000000) %}',
        '{% for i in range(3000) %}',
        '{{ x.__proto__ }}',
        '{{ x.constructor }}',
      ],
    ]
    const text = fc.array(fc.constantFrom(...pieces), { maxLength: 12 }).map((parts) => parts.join(' '))
    fc.assert(
      fc.property(text, (source) => void probe(source, { messages, x: {} })),
      parameters,
    )
  })

  it('with strange variables', () => {
    const variables = fc.dictionary(
      fc.constantFrom('messages', 'tools', 'documents', 'bos_token', 'add_generation_prompt'),
      fc.oneof(strange, fc.array(fc.record({ role: strange, content: strange }))),
    )
    fc.assert(
      fc.property(fc.constantFrom(...sources), variables, (source, given) => void probe(source, given)),
      parameters,
    )
  })
})

it('tool calls with bytes changed', () => {
  const samples = [
    ['hermes', 'Yes.<tool_call>{"name": "f", "arguments": {"a": [1, {"b": "}"}]}}</tool_call> ok'],
    ['mistral', '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]'],
    ['llama', '<|python_tag|>{"name": "f", "parameters": {"a": 1}}; {"name": "g", "parameters": {}}'],
  ] as const
  fc.assert(
    fc.property(fc.constantFrom(...samples), damage, ([format, text], changes) => {
      const changed = damaged(Buffer.from(text), changes).toString('utf8')
      try {
        const { content, calls } = parseToolCalls(changed, format)
        expect(typeof content).toBe('string')
        for (const call of calls) expect(typeof call.name).toBe('string')
      } catch (error) {
        expect(error).toBeInstanceOf(ToolCallError)
        expect((error as ToolCallError).text).toBe(changed)
      }
    }),
    parameters,
  )
})
