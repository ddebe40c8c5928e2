/** Where an answer ends, found in the chat template: models seldom say it in a way that can be relied on. */
import { applyChatTemplate, type ChatOptions } from './chat.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface TurnEnd {
  /** Tokens that end an answer. */
  readonly tokens: readonly number[]
  /** Texts that do, for templates that end a turn with ordinary text. */
  readonly texts: readonly string[]
}

const answer = 'glossaAnswer'
const next = 'glossaNext'

/**
 * What ends the assistant's turn: the end-of-text token, and what the template writes between an answer and the
 * next question. That is a special token (`<|im_end|>`, `<|eot_id|>`), or else the text (`\nUser:`).
 */
export function turnEnd(tokenizer: Tokenizer, options: ChatOptions = {}): TurnEnd {
  const eos = tokenizer.eos === undefined ? [] : [tokenizer.eos]
  const between = textBetween(tokenizer, options)
  const { ids } = tokenizer.encode(between, { addSpecialTokens: false })
  const special = ids.find((id) => tokenizer.isSpecial(id))
  const plain = special === undefined ? between : between.slice(0, between.indexOf(tokenizer.token(special)))
  if (special !== undefined && plain.trim() === '')
    return { tokens: [...new Set([...eos, special])], texts: [] }
  // The space after "User:" is part of what follows it in most vocabularies.
  const text = plain.trimEnd() || plain
  return { tokens: eos, texts: text === '' ? [] : [text] }
}

function textBetween(tokenizer: Tokenizer, options: ChatOptions): string {
  const { text } = applyChatTemplate(
    tokenizer,
    [
      { role: 'user', content: 'question' },
      { role: 'assistant', content: answer },
      { role: 'user', content: next },
    ],
    { ...options, addGenerationPrompt: false },
  )
  const from = text.lastIndexOf(answer)
  return from < 0 ? '' : text.slice(from + answer.length, text.indexOf(next, from))
}
