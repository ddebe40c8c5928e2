/** A conversation with a model: what was said, what of it fits into the context, and the next answer. */
import {
  type Context,
  type FinishReason,
  type GenerateOptions,
  generate,
  PromptCache,
} from '../../decode/index.ts'
import type { Model } from '../../model/index.ts'
import {
  applyChatTemplate,
  type ChatMessage,
  type ChatOptions,
  type Tokenizer,
  type ToolCall,
  type ToolCallFormat,
  type TurnEnd,
  turnEnd,
} from '../../text/index.ts'
import { callsInMessage, formatOf, openCalls, readCalls, resultMessage } from './tools.ts'

/** What the model said. */
export interface Answer {
  /** All of it. */
  readonly text: string
  /** Where the model has tools: its text without the calls, or all of it where they cannot be read. */
  readonly content: string
  readonly toolCalls?: readonly ToolCall[]
  /** Why a call cannot be read. */
  readonly toolCallError?: string
  readonly tokens: readonly number[]
  readonly promptTokens: readonly number[]
  /** Tokens at the beginning of the prompt that were still known from the turn before. */
  readonly reusedTokens: number
  /** `aborted`: the signal stopped it. */
  readonly finish: FinishReason | 'aborted'
}

/** Part of the context that is kept free for an answer, at most. */
const answerShare = 0.25

export class Conversation {
  readonly #model: Model
  readonly #tokenizer: Tokenizer
  readonly #options: ChatOptions
  readonly #end: TurnEnd
  readonly #context: Context
  readonly #cache = new PromptCache()
  readonly #format: ToolCallFormat | undefined
  #calls = 0
  #messages: ChatMessage[] = []
  system: string | undefined
  settings: GenerateOptions
  /** Messages that no longer fit into the context: the model does not see them. */
  forgotten = 0

  /** Throws where the model cannot hold a conversation. */
  constructor(model: Model, options: ChatOptions, settings: GenerateOptions, context: Context = {}) {
    if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer, which a conversation needs`)
    this.#model = model
    this.#tokenizer = model.tokenizer
    this.#options = options
    this.#end = turnEnd(model.tokenizer, options)
    this.#format = options.tools && formatOf(model.tokenizer, options)
    this.#context = context
    this.settings = settings
  }

  /** All of it; the system message first. */
  get messages(): readonly ChatMessage[] {
    return this.system === undefined
      ? this.#messages
      : [{ role: 'system', content: this.system }, ...this.#messages]
  }

  set messages(messages: readonly ChatMessage[]) {
    const [first, ...rest] = messages
    const hasSystem = first?.role === 'system' && typeof first.content === 'string'
    this.system = hasSystem ? (first.content as string) : undefined
    this.#messages = hasSystem ? rest : [...messages]
    this.forgotten = 0
  }

  /** Takes back the last question and what came after it, and gives the question. */
  undo(): ChatMessage | undefined {
    const at = this.#messages.findLastIndex(({ role }) => role === 'user')
    const [question] = at < 0 ? [] : this.#messages.splice(at)
    this.forgotten = Math.min(this.forgotten, this.#messages.length)
    return question
  }

  /**
   * Takes the result of the first call that has none. The last one becomes the question to go on with, and nothing
   * comes back before. Throws where no call waits for a result.
   */
  giveResult(content: string): ChatMessage | undefined {
    const [call, ...others] = openCalls(this.#messages)
    if (!call) throw new Error('no tool call waits for a result')
    const message = resultMessage(call, content)
    if (others.length === 0) return message
    this.#messages.push(message)
    return undefined
  }

  /**
   * Asks the model; `onText` gets the answer as it grows. Both become part of the conversation, an answer that
   * was stopped too; a question that fails does not. Of the prompt only that is read which the cache of the turn
   * before does not have.
   */
  async ask(question: ChatMessage, signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
    this.#messages.push(question)
    try {
      const answer = await this.#answer(signal, onText)
      const { content, toolCalls = [] } = answer
      const calls = toolCalls.length > 0 && { tool_calls: callsInMessage(toolCalls, this.#calls) }
      this.#calls += toolCalls.length
      this.#messages.push({ role: 'assistant', content, ...calls })
      return answer
    } catch (error) {
      this.#messages.pop()
      throw error
    }
  }

  async #answer(signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
    const { stop = [], stopTokens = this.#model.ends, samples = 1 } = this.settings
    if (samples > 1) throw new Error(`a conversation has one answer to a question: samples is ${samples}`)
    const prompt = this.#fit()
    const settings = {
      ...this.settings,
      stop: [...stop, ...this.#end.texts],
      stopTokens: [...stopTokens, ...this.#end.tokens],
    }
    const alone = (settings.beams ?? 1) === 1
    const context: Context = { ...this.#context, signal, ...(alone && { promptCache: this.#cache }) }
    const tokens: number[] = []
    let text = ''
    let finish: Answer['finish'] = 'aborted'
    try {
      for await (const event of generate(this.#model, [prompt], settings, context)) {
        if (event.token !== undefined) tokens.push(event.token)
        text += event.text
        onText(event.text)
        if (event.finish) finish = event.finish
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
    const reusedTokens = alone ? this.#cache.reused : 0
    const read = this.#format ? readCalls(text, this.#format) : { content: text }
    return { text, ...read, tokens, promptTokens: prompt, reusedTokens, finish }
  }

  /** The prompt, without the oldest turns where all of them would leave no room for an answer. */
  #fit(): number[] {
    const { context } = this.#model
    const wanted = Math.min(this.settings.maxTokens ?? context, Math.floor(context * answerShare))
    for (;;) {
      const { ids } = this.#render(this.forgotten)
      if (ids.length + wanted <= context) return ids
      const nextTurn = this.#messages.findIndex(({ role }, i) => i > this.forgotten && role === 'user')
      if (nextTurn < 0) {
        if (ids.length < context) return ids
        throw new Error(`the message is too long: ${ids.length} tokens with the template, of ${context}`)
      }
      this.forgotten = nextTurn
    }
  }

  #render(from: number): { ids: number[] } {
    const system = this.system === undefined ? [] : [{ role: 'system', content: this.system }]
    return applyChatTemplate(this.#tokenizer, [...system, ...this.#messages.slice(from)], this.#options)
  }
}
