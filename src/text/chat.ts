/**
 * Conversations as a model was trained to read them: messages through its Jinja template, then to token ids.
 * Templates see what Hugging Face transformers gives them, so that both render the same text.
 */
import { renderTemplate } from './jinja.ts'
import type { Tokenizer } from './tokenizer.ts'

/** One message. Which roles and which other keys there can be is up to the template. */
export interface ChatMessage {
  readonly role: string
  readonly content?: string | readonly Readonly<Record<string, unknown>>[] | null
  readonly [key: string]: unknown
}

export interface ChatOptions {
  /** End with the beginning of the assistant's turn, for the model to go on from (default true). */
  readonly addGenerationPrompt?: boolean
  /** JSON schemas of functions that the model may call. */
  readonly tools?: readonly object[]
  /** What the model may quote, as the template expects it: usually `{ title, text }`. */
  readonly documents?: readonly object[]
  /** Jinja source instead of the model's own, or the name of one of its several. */
  readonly template?: string
  /** More variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>
  /** The time that `strftime_now` tells (default: now). */
  readonly now?: Date
}

export interface ChatPrompt {
  readonly text: string
  readonly ids: number[]
}

/**
 * A conversation as the prompt of a model. Special tokens in the rendered text are tokens, in the messages too;
 * none are added, because the template writes the begin token itself.
 */
export function applyChatTemplate(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): ChatPrompt {
  const text = renderChat(tokenizer, messages, options)
  return { text, ids: tokenizer.encode(text, { addSpecialTokens: false }).ids }
}

/** The text of `applyChatTemplate` alone. */
export function renderChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): string {
  const { addGenerationPrompt = true, tools = null, documents = null, now = new Date() } = options
  return renderTemplate(
    chatTemplateSource(tokenizer, options),
    {
      ...specialTokens(tokenizer),
      ...options.variables,
      messages,
      tools,
      documents,
      add_generation_prompt: addGenerationPrompt,
    },
    now,
  )
}

/** The Jinja source that a conversation is rendered with: of several `tool_use` for tools, else `default`. */
export function chatTemplateSource({ chatTemplate: own }: Tokenizer, options: ChatOptions = {}): string {
  const { template, tools } = options
  const named = typeof own === 'object' ? own : {}
  if (template !== undefined) return Object.hasOwn(named, template) ? named[template]! : template
  if (typeof own === 'string') return own
  const found = (tools && named.tool_use) ?? named.default
  if (found !== undefined) return found
  throw new Error(
    own === undefined
      ? 'the model has no chat template: it was not trained for conversations. Give one, --template FILE'
      : `the model has several chat templates and no default; name one of them: ${Object.keys(named).join(', ')}`,
  )
}

/** `bos_token` and its like. A token that the model lacks is undefined in the template, which prints nothing. */
function specialTokens(tokenizer: Tokenizer): Record<string, string> {
  const variables: Record<string, string> = {}
  for (const role of ['bos', 'eos', 'unk', 'pad'] as const) {
    const id = tokenizer[role]
    if (id !== undefined) variables[`${role}_token`] = tokenizer.token(id)
  }
  return variables
}
