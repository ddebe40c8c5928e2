/** A conversation reads what is new, and says the same as one that reads everything. */
import { afterAll, expect, it } from 'vitest'
import { Conversation } from '../../src/cli/chat/conversation.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = Model.open(new URL('../../models/starter', import.meta.url).pathname, engine)
const template =
  '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}'
const { signal } = new AbortController()

it.each([
  { temperature: 0, maxTokens: 12 },
  { temperature: 1, seed: 4, maxTokens: 12 },
])('%o', async (settings) => {
  const conversation = new Conversation(model, { template }, settings)
  conversation.system = 'Be kind'
  let before = 0
  for (const content of ['Tell me a story', 'And then?', 'Who was it?']) {
    const fresh = new Conversation(model, { template }, settings)
    fresh.messages = conversation.messages
    const expected = await fresh.ask({ role: 'user', content }, signal, () => {})
    const answer = await conversation.ask({ role: 'user', content }, signal, () => {})
    expect(expected.reusedTokens).toBe(0)
    expect(answer.promptTokens).toEqual(expected.promptTokens)
    expect(answer.tokens).toEqual(expected.tokens)
    // All of the last prompt at least.
    expect(answer.reusedTokens).toBeGreaterThanOrEqual(before)
    before = answer.promptTokens.length
  }
  // Of another question the beginning is the same.
  conversation.undo()
  const { reusedTokens } = await conversation.ask({ role: 'user', content: 'Why?' }, signal, () => {})
  expect(reusedTokens).toBeGreaterThan(20)
})

it('has one answer to a question', async () => {
  const conversation = new Conversation(model, { template }, { samples: 2, temperature: 1 })
  await expect(conversation.ask({ role: 'user', content: 'x' }, signal, () => {})).rejects.toThrow(
    'samples is 2',
  )
  expect(conversation.messages).toEqual([])
})
