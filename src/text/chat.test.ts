import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  applyChatTemplate,
  type ChatMessage,
  renderTemplate,
  tokenizerFromHuggingFace,
  turnEnd,
} from './index.ts'

interface Case {
  template: string
  messages: ChatMessage[]
  options: { add_generation_prompt?: boolean; tools?: object[]; documents?: object[] }
  text?: string
  /** Added tokens by name. */
  ids?: (number | string)[]
  error?: string
}
const read = (path: string) => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'))
const { special, templates, cases } = read('test/fixtures/text/chat.json') as {
  special: string[]
  templates: Record<string, { bos: string; eos: string; source: string }>
  cases: Case[]
}
const starter = read('models/starter/tokenizer.json')

function tokenizer(config: object = {}, chatTemplate?: string) {
  const added = special.map((content, i) => ({ id: 1024 + i, content, special: true }))
  const json = { ...starter, added_tokens: [...starter.added_tokens, ...added] }
  return tokenizerFromHuggingFace({
    tokenizer: { json, file: 'starter' },
    config: { json: config, file: 'config' },
    chatTemplate,
  })
}

describe('applyChatTemplate', () => {
  test.each(cases)(
    '$template as transformers renders it (case %$)',
    ({ template, messages, options, ...expected }) => {
      const { bos, eos, source } = templates[template]!
      const own = tokenizer({ bos_token: bos, eos_token: eos, chat_template: source })
      const { add_generation_prompt: addGenerationPrompt = false, tools, documents, ...variables } = options
      const apply = () =>
        applyChatTemplate(own, messages, {
          addGenerationPrompt,
          ...(tools && { tools }),
          ...(documents && { documents }),
          variables,
        })
      if (expected.error !== undefined) {
        expect(apply).toThrow(`chat template: ${expected.error}`)
        return
      }
      const { text, ids } = apply()
      expect(text).toBe(expected.text)
      expect(ids).toEqual(expected.ids!.map((id) => (typeof id === 'string' ? own.id(id) : id)))
    },
  )

  test('takes, of several templates, that for tools', () => {
    const named = (...names: string[]) =>
      tokenizer({ chat_template: names.map((name) => ({ name, template: `${name}!` })) })
    const text = (own: ReturnType<typeof named>, options = {}) => applyChatTemplate(own, [], options).text
    expect(text(named('default', 'tool_use'))).toBe('default!')
    expect(text(named('default', 'tool_use'), { tools: [{}] })).toBe('tool_use!')
    expect(text(named('default', 'rag'), { template: 'rag' })).toBe('rag!')
    expect(text(named('default'), { template: 'my {{ 1 + 1 }}' })).toBe('my 2')
    expect(() => text(named('one', 'two'))).toThrow('no default; name one of them: one, two')
  })

  test('says what to do for a model without one', () => {
    expect(() => applyChatTemplate(tokenizer(), [])).toThrow(/no chat template.*--template FILE/)
  })
})

describe('turnEnd', () => {
  const end = (name: string) => {
    const { bos, eos, source } = templates[name]!
    const own = tokenizer({ bos_token: bos, eos_token: eos, chat_template: source })
    const { tokens, texts } = turnEnd(own)
    return { tokens: tokens.map((id) => own.token(id)), texts }
  }

  test('is the special token that the template writes after an answer', () => {
    expect(end('chatml')).toEqual({ tokens: ['<|im_end|>'], texts: [] })
    expect(end('llama2')).toEqual({ tokens: ['</s>'], texts: [] })
    expect(end('llama3')).toEqual({ tokens: ['<|eot_id|>'], texts: [] })
    expect(end('gemma')).toEqual({ tokens: ['<end_of_turn>'], texts: [] })
  })

  test('is the text before the next question where the template has no special tokens', () => {
    const own = tokenizer({
      chat_template: '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}',
    })
    expect(turnEnd(own)).toEqual({ tokens: [own.eos], texts: ['\nuser:'] })
  })
})

describe('renderTemplate', () => {
  test('tells the time as Python does', () => {
    const now = new Date(2024, 1, 9, 15, 4, 5)
    const all = "{{ strftime_now('%d %B %Y|%-d %b %y|%A %a %w %u|%H:%M:%S %I %p|%j|%F %T|%%') }}"
    expect(renderTemplate(all, {}, now)).toBe(
      '09 February 2024|9 Feb 24|Friday Fri 5 5|15:04:05 03 PM|040|2024-02-09 15:04:05|%',
    )
    expect(() => renderTemplate("{{ strftime_now('%Q') }}", {})).toThrow('unknown directive %Q')
  })

  test('says what is wrong with a template', () => {
    expect(() => renderTemplate('{% if %}', {})).toThrow(/^chat template: /)
    expect(() => renderTemplate("{{ raise_exception('no') }}", {})).toThrow('chat template: no')
  })

  test('counts as Python does', () => {
    expect(renderTemplate('{{ range(3) }} {{ range(4, 0, -2) }} {{ range(2, 2) }}', {})).toBe(
      '[0, 1, 2] [4, 2] []',
    )
  })
})
