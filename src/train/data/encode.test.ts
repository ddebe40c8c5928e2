/** Tokens and targets of every format, written out by hand: each character is a token. */
import { describe, expect, test } from 'vitest'
import { charTokenizer, idsOf } from '../../../test/charTokenizer.ts'
import {
  encodeExamples,
  preferenceTokens,
  promptTokens,
  type TrainingTokens,
  trainingTokens,
  unpairedTokens,
} from './encode.ts'
import { rowsOf } from './rows.ts'

/** ChatML, as Qwen and many others have it. */
const chatml = `{% for message in messages %}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`
const tokenizer = charTokenizer({ chat_template: chatml })
const [eot, open, close] = [0, 1, 2]

/** A sequence by its parts; those in brackets are trained on. */
function sequence(...parts: readonly (string | number | readonly (string | number)[])[]): TrainingTokens {
  const pieces = parts.map((part) => ({
    ids: idsOf(...(typeof part === 'object' ? part : [part])),
    trained: typeof part === 'object',
  }))
  return {
    tokens: pieces.flatMap(({ ids }) => ids),
    trained: pieces.flatMap(({ ids, trained }) => ids.map(() => trained)),
  }
}

const user = { role: 'user', content: 'Hi' }
const assistant = { role: 'assistant', content: 'Yo' }
const asked = [open, 'user\nHi', close, '\n', open, 'assistant\n'] as const

describe('text', () => {
  test('is trained on whole, to its end', () => {
    expect(trainingTokens({ text: 'ab' }, tokenizer)).toEqual(sequence(['ab', eot]))
    expect(trainingTokens({ text: 'ab<|endoftext|>' }, tokenizer)).toEqual(sequence(['ab', eot]))
    expect(trainingTokens({ text: 'ab' }, tokenizer, { endOfText: close })).toEqual(sequence(['ab', close]))
    expect(trainingTokens({ text: 'ab' }, tokenizer, { endOfText: null })).toEqual(sequence(['ab']))
  })
})

test('the token that begins a text is no target', () => {
  const begins = charTokenizer({}, [], true)
  expect(trainingTokens({ text: 'ab' }, begins)).toEqual(sequence(eot, ['ab', eot]))
  const row = { prompt: '', completion: 'ab' }
  expect(trainingTokens(row, begins)).toEqual(sequence(eot, ['ab', eot]))
  expect(trainingTokens(row, begins, { completionOnly: false })).toEqual(sequence(eot, ['ab', eot]))
})

describe('prompt and completion', () => {
  test('as text', () => {
    const row = { prompt: 'Hi:', completion: ' Yo' }
    expect(trainingTokens(row, tokenizer)).toEqual(sequence('Hi:', [' Yo', eot]))
    expect(trainingTokens(row, tokenizer, { completionOnly: false })).toEqual(sequence(['Hi: Yo', eot]))
  })

  test('as messages', () => {
    const row = { prompt: [user], completion: [assistant] }
    expect(trainingTokens(row, tokenizer)).toEqual(sequence(...asked, ['Yo', close, '\n']))
    expect(unpairedTokens({ ...row, label: false }, tokenizer)).toEqual({
      ...sequence(...asked, ['Yo', close, '\n']),
      label: false,
    })
    expect(() => unpairedTokens(row, tokenizer)).toThrow('this takes prompt, completion and label')
  })

  test('where the template opens a turn with more than it writes in one that is done', () => {
    const template = chatml.replace("assistant\\n' }}", "assistant\\n<think>' }}")
    const row = { prompt: [user], completion: [assistant] }
    expect(trainingTokens(row, tokenizer, { template })).toEqual(sequence(...asked, ['Yo', close, '\n']))
  })

  test('a token across the seam belongs to the completion', () => {
    const merging = charTokenizer({}, ['a b'])
    const joined = trainingTokens({ prompt: 'xa', completion: 'bx' }, merging)
    expect(joined.tokens.map((id) => merging.token(id))).toEqual(['x', 'ab', 'x', '<|endoftext|>'])
    expect(joined.trained).toEqual([false, true, true, true])
  })
})

describe('messages', () => {
  const messages = [
    { role: 'system', content: 'S' },
    user,
    assistant,
    { role: 'user', content: 'B' },
    assistant,
  ]
  const wanted = sequence(
    ...[open, 'system\nS', close, '\n', ...asked],
    ['Yo', close, '\n'],
    ...[open, 'user\nB', close, '\n', open, 'assistant\n'],
    ['Yo', close, '\n'],
  )

  test("are trained on the assistant's turns, or whole", () => {
    expect(trainingTokens({ messages }, tokenizer)).toEqual(wanted)
    const whole = trainingTokens({ messages }, tokenizer, { assistantOnly: false })
    expect(whole).toEqual({ tokens: wanted.tokens, trained: wanted.tokens.map(() => true) })
  })

  test('of a template with {% generation %} marks are trained on what it marks', () => {
    const template = `{%- for message in messages %}
      {{- '<|im_start|>' + message.role + '\\n' }}
      {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
      {%- else %}
        {{- message.content + '<|im_end|>' }}
      {%- endif %}
      {{- '\\n' }}
    {%- endfor %}`
    const turn = [...asked, ['Yo', close], '\n'] as const
    expect(trainingTokens({ messages: [user, assistant] }, tokenizer, { template })).toEqual(
      sequence(...turn),
    )
    expect(trainingTokens({ messages }, tokenizer, { template }).tokens).toEqual(wanted.tokens)
    // A mark on a line of its own leaves the line break before it, if that follows no block: blocks take it.
    const lines = template.replace(/\{%- (end)?generation %\}/g, '{% $1generation %}')
    const spaced = [...asked, ['Yo', close, '\n'], '\n'] as const
    expect(trainingTokens({ messages: [user, assistant] }, tokenizer, { template: lines })).toEqual(
      sequence(...spaced),
    )
  })

  test('of a template that ends the whole with a token are trained on it, for one turn', () => {
    const template = chatml.replace('{% endif %}', '{% else %}<|endoftext|>{% endif %}')
    expect(trainingTokens({ messages: [user, assistant] }, tokenizer, { template })).toEqual(
      sequence(...asked, ['Yo', close, '\n', eot]),
    )
    // The first answer alone would end with it, too.
    expect(() => trainingTokens({ messages }, tokenizer, { template })).toThrow('with the turn 2 is not')
  })

  test('with tools are rendered with them', () => {
    const template = `{% if tools %}{{ tools[0].name }}{% endif %}${chatml}`
    const row = { messages: [user, assistant], tools: [{ name: 'add' }] }
    expect(trainingTokens(row, tokenizer, { template })).toEqual(
      sequence('add', ...asked, ['Yo', close, '\n']),
    )
  })

  test('without a turn of the assistant are an error', () => {
    expect(() => trainingTokens({ messages: [user] }, tokenizer)).toThrow('no turn of the assistant')
  })

  test('of a template that rewrites what came before are an error', () => {
    // The turns are numbered from the last, so that no beginning stays.
    const template = chatml.replace("message.role + '", "message.role + (messages | length | string) + '")
    expect(() => trainingTokens({ messages }, tokenizer, { template })).toThrow(
      'is not what the whole conversation begins with',
    )
    const whole = trainingTokens({ messages }, tokenizer, { template, assistantOnly: false })
    expect(whole.trained.every(Boolean)).toBe(true)
  })
})

describe('preferences', () => {
  test('as text share their prompt and end', () => {
    const wanted = { prompt: idsOf('Sky is'), chosen: idsOf(' blue', eot), rejected: idsOf(' red', eot) }
    const row = { prompt: 'Sky is', chosen: ' blue', rejected: ' red' }
    expect(preferenceTokens(row, tokenizer)).toEqual(wanted)
    expect(preferenceTokens({ chosen: 'Sky is blue', rejected: 'Sky is red' }, tokenizer)).toEqual(wanted)
  })

  test('as messages', () => {
    const other = { role: 'assistant', content: 'No' }
    const wanted = {
      prompt: idsOf(...asked),
      chosen: idsOf('Yo', close, '\n'),
      rejected: idsOf('No', close, '\n'),
    }
    expect(preferenceTokens({ prompt: [user], chosen: [assistant], rejected: [other] }, tokenizer)).toEqual(
      wanted,
    )
    expect(preferenceTokens({ chosen: [user, assistant], rejected: [user, other] }, tokenizer)).toEqual(
      wanted,
    )
  })

  test('a token across the seam of one is in neither prompt', () => {
    const merging = charTokenizer({}, ['a b'])
    const { prompt, chosen, rejected } = preferenceTokens(
      { prompt: 'xa', chosen: 'b', rejected: 'c' },
      merging,
    )
    const spell = (ids: readonly number[]) => ids.map((id) => merging.token(id))
    expect([prompt, chosen, rejected].map(spell)).toEqual([
      ['x'],
      ['ab', '<|endoftext|>'],
      ['a', 'c', '<|endoftext|>'],
    ])
  })
})

describe('prompts', () => {
  test("open the assistant's turn, or leave it open", () => {
    expect(promptTokens({ prompt: 'Hi' }, tokenizer)).toEqual(idsOf('Hi'))
    expect(promptTokens({ prompt: [user] }, tokenizer)).toEqual(idsOf(...asked))
    expect(promptTokens({ prompt: [user, assistant] }, tokenizer)).toEqual(idsOf(...asked, 'Yo'))
    expect(() => promptTokens({ text: 'a' }, tokenizer)).toThrow(
      'the row has the format text; this takes a prompt',
    )
  })
})

test('an error of a row says which', () => {
  const rows = encodeExamples(rowsOf([{ text: 'a' }, { body: 'b' }]), trainingTokens, tokenizer)
  expect(rows.at(0)).toEqual(sequence(['a', eot]))
  expect(() => rows.at(1)).toThrow('row 1: a row has the columns body')
})
