/** Conversations as text, and which parts of it are the assistant's. */
import {
  type ChatMessage,
  type ChatOptions,
  chatTemplateSource,
  renderChat,
  type Tokenizer,
} from '../../text/index.ts'
import { FormatError } from './formats.ts'

/** How templates are rendered. `now` fixes the date that some of them write, for rows that stay the same. */
export type ChatRendering = Pick<ChatOptions, 'template' | 'variables' | 'now'>

type Options = ChatRendering & { readonly tools?: readonly object[] | undefined }
type Span = readonly [start: number, end: number]
type Messages = readonly ChatMessage[]

const chatOptions = ({ tools, ...rest }: Options): ChatOptions => ({ ...rest, ...(tools && { tools }) })

const render = (
  tokenizer: Tokenizer,
  messages: Messages,
  options: Options,
  addGenerationPrompt = false,
): string => renderChat(tokenizer, messages, { ...chatOptions(options), addGenerationPrompt })

/**
 * A conversation as its template writes it, with the spans to train on: all of it, or the assistant's turns. Those
 * are what the template marks with {% generation %}; in a template without marks they are what follows the beginning
 * of the assistant's turn, found by rendering what comes before and up to the turn. Error if the template
 * writes these differently within the whole. What only the next turn writes, such as `\nUser:`, is not trained on.
 */
export function conversation(
  tokenizer: Tokenizer,
  messages: Messages,
  assistantOnly: boolean,
  options: Options,
): { text: string; spans: Span[] } {
  const text = render(tokenizer, messages, options)
  if (!assistantOnly) return { text, spans: [[0, text.length]] }
  if (!messages.some(isAssistant))
    throw new FormatError('the conversation has no turn of the assistant to train on')
  const source = chatTemplateSource(tokenizer, chatOptions(options))
  const spans = generationTag.test(source)
    ? markedSpans(tokenizer, messages, text, source, options)
    : renderedSpans(tokenizer, messages, text, options)
  return { text, spans }
}

const isAssistant = ({ role }: ChatMessage): boolean => role === 'assistant'

const generationTag = /\{%-?\s*generation\s*-?%\}/
// Unicode keeps both for the inside of programs: no text has them.
const [opened, closed] = ['\ufdd0', '\ufdd1']

/** Renders with a character at each mark. The tags become blocks, so that white space is cut as around a block. */
function markedSpans(
  tokenizer: Tokenizer,
  messages: Messages,
  text: string,
  source: string,
  options: Options,
): Span[] {
  const template = source.replace(
    /\{%(-?)\s*(end)?generation\s*(-?)%\}/g,
    (_, before: string, end: string | undefined, after: string) =>
      `{%${before} if true %}{{ "${end === undefined ? opened : closed}" }}{% endif ${after}%}`,
  )
  const pieces = render(tokenizer, messages, { ...options, template }).split(/([\ufdd0\ufdd1])/)
  const spans: Span[] = []
  let at = 0
  let start: number | undefined
  for (const piece of pieces) {
    if (piece === opened) start = at
    else if (piece === closed && start !== undefined) {
      spans.push([start, at])
      start = undefined
    } else at += piece.length
  }
  const plain = pieces.filter((piece) => piece !== opened && piece !== closed).join('')
  if (plain !== text || start !== undefined)
    throw new Error('chat template: its {% generation %} marks change the text; say assistantOnly: false')
  if (spans.length === 0)
    throw new FormatError('chat template: its {% generation %} marks hold no turn of this conversation')
  return spans
}

function renderedSpans(tokenizer: Tokenizer, messages: Messages, text: string, options: Options): Span[] {
  const spans: Span[] = []
  for (const [index, message] of messages.entries()) {
    if (!isAssistant(message)) continue
    const start = promptEnd(tokenizer, messages.slice(0, index), text, options)
    const upTo = render(tokenizer, messages.slice(0, index + 1), options)
    if (!text.startsWith(upTo)) throw notPrefix(`with the turn ${index}`)
    spans.push([start, upTo.length])
  }
  return spans
}

/**
 * Where the assistant goes on from: behind the prompt and as much of the generation prompt as the whole has
 * too. Some templates open a turn with more (`<think>`) than they write in one that is done.
 */
function promptEnd(tokenizer: Tokenizer, prompt: Messages, text: string, options: Options): number {
  if (prompt.length === 0) return 0
  const openPrompt = render(tokenizer, prompt, options, true)
  if (text.startsWith(openPrompt)) return openPrompt.length
  const closedPrompt = render(tokenizer, prompt, options)
  if (!text.startsWith(closedPrompt)) throw notPrefix(`up to the turn ${prompt.length - 1}`)
  let shared = closedPrompt.length
  while (shared < openPrompt.length && openPrompt[shared] === text[shared]) shared++
  return shared
}

const notPrefix = (which: string): Error =>
  new Error(
    `chat template: the conversation ${which} is not what the whole conversation begins with, so that the ` +
      "assistant's turns cannot be found. Give a template with {% generation %} marks, or say assistantOnly: false " +
      'and completionOnly: false',
  )

/** Prompt and completion as one conversation, and where in the text the completion begins. */
export function promptAndCompletion(
  tokenizer: Tokenizer,
  prompt: Messages,
  completion: Messages,
  options: Options,
): { text: string; from: number } {
  const text = render(tokenizer, [...prompt, ...completion], options)
  return { text, from: promptEnd(tokenizer, prompt, text, options) }
}

/** A prompt for the assistant to go on from; if its last turn is the assistant's, that turn without its end. */
export function lastTurnOpen(tokenizer: Tokenizer, prompt: Messages, options: Options): string {
  const last = prompt.at(-1)!
  if (!isAssistant(last)) return render(tokenizer, prompt, options, true)
  const text = render(tokenizer, prompt, options)
  const content = typeof last.content === 'string' ? last.content.trim() : ''
  const at = text.lastIndexOf(content)
  if (content === '' || at < 0)
    throw new Error(
      "chat template: the assistant's last turn, to be gone on with, is not in the text as it is",
    )
  return text.slice(0, at + content.length)
}
