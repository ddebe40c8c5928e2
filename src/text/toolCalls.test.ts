import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseToolCalls, ToolCallError, type ToolCallFormat, toolCallFormat } from './index.ts'

const { templates } = JSON.parse(
  readFileSync(new URL('../../test/fixtures/text/chat.json', import.meta.url), 'utf8'),
) as { templates: Record<string, { source: string }> }
const oslo = { name: 'weather', arguments: { place: 'Oslo' } }
const json = JSON.stringify(oslo)
const parameters = '{"name": "weather", "parameters": {"place": "Oslo"}}'

describe('tool calls', () => {
  test('have the notation of the template', () => {
    const formats = Object.entries(templates).map(([name, { source }]) => [name, toolCallFormat(source)])
    expect(Object.fromEntries(formats)).toEqual({ tools: 'hermes', llama3: 'llama' })
    expect(toolCallFormat("{{ '[TOOL_CALLS]' }}")).toBe('mistral')
  })

  test.each<[ToolCallFormat, string, string, object[]]>([
    ['hermes', `Let me see.\n<tool_call>\n${json}\n</tool_call>`, 'Let me see.', [oslo]],
    ['hermes', `<tool_call>${json}</tool_call>\n<tool_call>${json}</tool_call>`, '', [oslo, oslo]],
    [
      'hermes',
      '<tool_call>{"name": "now", "arguments": "{}"}</tool_call>',
      '',
      [{ name: 'now', arguments: {} }],
    ],
    ['hermes', 'No call.', 'No call.', []],
    ['mistral', `[TOOL_CALLS] [${json}, ${json}]`, '', [oslo, oslo]],
    ['mistral', 'No call.', 'No call.', []],
    ['llama', parameters, '', [oslo]],
    ['llama', `<|python_tag|>${parameters}; ${parameters}`, '', [oslo, oslo]],
    ['llama', '{"answer": 3}', '{"answer": 3}', []],
  ])('%s: %s', (format, text, content, calls) => {
    expect(parseToolCalls(text, format)).toEqual({ content, calls })
  })

  test.each<[ToolCallFormat, string, string]>([
    ['hermes', '<tool_call>{"name": "x"', '<tool_call> has no end'],
    ['hermes', '<tool_call>{"name": }</tool_call>', 'not JSON'],
    ['hermes', '<tool_call>{"arguments": {}}</tool_call>', 'it has no name'],
    ['mistral', '[TOOL_CALLS]{"name": "x"}', 'a list is expected'],
    ['llama', '{"name": "x", "parameters": [1]}', 'the arguments of x are not an object'],
    ['llama', '<|python_tag|>print(1)', 'not JSON'],
  ])('%s: refuses %s and keeps it', (format, text, message) => {
    const parse = () => parseToolCalls(text, format)
    expect(parse).toThrow(message)
    expect(parse).toThrow(ToolCallError)
    expect(parse).toThrow(expect.objectContaining({ text }))
  })
})
