import { describe, expect, test } from 'vitest'
import { type Example, FormatError, formatOf, readExample } from './formats.ts'

const user = { role: 'user', content: 'What color is the sky?' }
const blue = { role: 'assistant', content: 'It is blue.' }
const green = { role: 'assistant', content: 'It is green.' }

describe('the format of a row', () => {
  test('is told by its keys', () => {
    expect(formatOf({ text: 'a', label: 3, source: 'x' })).toBe('text')
    expect(formatOf({ messages: [user, blue], tools: null })).toBe('messages')
    expect(formatOf({ conversations: [] })).toBe('messages')
    expect(formatOf({ prompt: 'a' })).toBe('prompt')
    expect(formatOf({ prompt: 'a', completion: 'b' })).toBe('prompt-completion')
    expect(formatOf({ prompt: 'a', completion: 'b', label: null })).toBe('prompt-completion')
    expect(formatOf({ prompt: 'a', completion: 'b', label: true })).toBe('unpaired')
    expect(formatOf({ prompt: 'a', chosen: 'b', rejected: 'c' })).toBe('preference')
    expect(formatOf({ chosen: 'b', rejected: 'c' })).toBe('preference')
  })

  test('none is an error that lists them, several one that names them', () => {
    expect(() => formatOf({ question: 'a', answer: 'b' })).toThrow(
      'a row has the columns question, answer, which is none of the formats: {text}, {messages}, {prompt, completion}',
    )
    expect(() => formatOf({ chosen: 'a' })).toThrow(FormatError)
    expect(() => formatOf({ prompt: 'a', messages: [user] })).toThrow(
      'a row with the columns prompt, messages can be read as messages or as prompt: name the format',
    )
    expect(readExample({ prompt: 'a', messages: [user] }, 'messages')).toEqual({
      format: 'messages',
      messages: [user],
      tools: undefined,
      variables: undefined,
    })
    expect(() => readExample({ text: 'a' }, 'prompt')).toThrow('a row of the format prompt has no prompt')
  })
})

describe('examples', () => {
  test('with tools as a list or as JSON, and variables', () => {
    const tools = [{ type: 'function' }]
    const variables = { enable_thinking: false }
    const wanted = { tools, variables }
    const row = { messages: [user], chat_template_kwargs: variables }
    expect(readExample({ ...row, tools })).toMatchObject(wanted)
    expect(readExample({ ...row, tools: JSON.stringify(tools) })).toMatchObject(wanted)
    expect(readExample({ ...row, tools: [] }).tools).toBeUndefined()
    expect(() => readExample({ ...row, tools: '[' })).toThrow('tools is text that is not JSON')
  })

  test('of conversations in the older spelling, without the nulls of tables', () => {
    const conversations = [
      { from: 'user', value: 'a', weight: null },
      { from: 'assistant', value: null, tool_calls: [1] },
    ]
    expect(readExample({ conversations })).toMatchObject({
      format: 'messages',
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: null, tool_calls: [1] },
      ],
    })
    const {
      messages: [first],
    } = readExample({ conversations }) as Extract<Example, { format: 'messages' }>
    expect(Object.keys(first!)).toEqual(['role', 'content'])
  })

  test('with labels as tables spell them', () => {
    const label = (value: unknown) => readExample({ prompt: 'a', completion: 'b', label: value })
    expect([true, 'True', '1', 1].map((value) => (label(value) as { label: boolean }).label)).toEqual(
      Array(4).fill(true),
    )
    expect([false, 'false', '0', 0].map((value) => (label(value) as { label: boolean }).label)).toEqual(
      Array(4).fill(false),
    )
    expect(() => label('good')).toThrow('label is "good"')
  })

  test('of values that do not fit are errors', () => {
    expect(() => readExample({ text: 3 })).toThrow('text is a number, not a string')
    expect(() => readExample({ messages: 'a' })).toThrow('messages is a string')
    expect(() => readExample({ messages: [] })).toThrow('messages has no messages')
    expect(() => readExample({ messages: [user, { content: 'a' }] })).toThrow('messages[1] has no role')
    expect(() => readExample({ prompt: 'a', completion: [blue] })).toThrow(
      'prompt and completion have to be both',
    )
    expect(() => readExample({ prompt: [user], chosen: 'a', rejected: 'b' })).toThrow('prompt and chosen')
  })
})

describe('the prompt that a preference implies', () => {
  const read = (chosen: unknown, rejected: unknown, prompt?: unknown) =>
    readExample({ chosen, rejected, ...(prompt !== undefined && { prompt }) })

  test('is what both begin with, without the space before the difference', () => {
    // The examples of TRL's documentation.
    expect(read('The sky is blue.', 'The sky is green.')).toMatchObject({
      prompt: 'The sky is',
      chosen: ' blue.',
      rejected: ' green.',
    })
    const messages = { prompt: [user], chosen: [blue], rejected: [green] }
    expect(read([user, blue], [user, green])).toMatchObject(messages)
    expect(read([user, blue], [user, green], user.content)).toMatchObject(messages)
  })

  test('leaves something to choose, and whole characters', () => {
    expect(read('ab', 'abc')).toMatchObject({ prompt: 'a', chosen: 'b', rejected: 'bc' })
    expect(read('ax', 'bx')).toMatchObject({ prompt: '', chosen: 'ax', rejected: 'bx' })
    expect(read('a 😀', 'a 😁')).toMatchObject({ prompt: 'a', chosen: ' 😀', rejected: ' 😁' })
    expect(() => read('', 'a')).toThrow('is empty')
    expect(() => read([blue], [green])).toThrow('begin differently')
  })
})
