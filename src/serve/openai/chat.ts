/** `/v1/chat/completions`: answers in conversations, with calls of tools where the model makes them. */
import { randomUUID } from 'node:crypto'
import type { ToolFunction } from '../../decode/index.ts'
import type { ChatMessage } from '../../text/index.ts'
import { parseToolCalls, ToolCallError } from '../../text/toolCalls.ts'
import { ApiError } from '../errors.ts'
import type { CompletionEvent, CompletionRequest, ScoredTokenText } from '../host/types.ts'
import { type ChatRequest, constraintFields, samplingOptions } from './fields.ts'
import { countTokens, finishReason, type Head, newUsage, tapsJson } from './reply.ts'

export function chatRequest(body: ChatRequest, caller: string): CompletionRequest {
  const { tools, tool_choice: choice, logprobs, top_logprobs: top } = body
  const form = constraintFields(body)
  const calls = forcedCalls(body)
  if (form && calls)
    throw new ApiError(400, 'tool_choice: a call excludes another form of the answer', {
      param: 'tool_choice',
    })
  if (typeof top === 'number' && !logprobs)
    throw new ApiError(400, "top_logprobs needs 'logprobs': true", { param: 'top_logprobs' })
  const maxTokens = body.max_completion_tokens ?? body.max_tokens
  if (maxTokens === 0) throw new ApiError(400, 'max_tokens 0 gives nothing', { param: 'max_tokens' })
  return {
    model: body.model,
    prompt: {
      messages: body.messages.map(ours),
      ...(tools?.length && choice !== 'none' && { tools }),
    },
    options: {
      ...samplingOptions(body),
      ...(typeof maxTokens === 'number' && { maxTokens }),
      ...(logprobs && { logprobs: top ?? 0 }),
    },
    constrain: calls ? { calls } : form,
    glossa: body.glossa,
    caller,
  }
}

/** The tools of which one must be called; undefined where the model decides whether it calls. */
function forcedCalls({ tools, tool_choice: choice }: ChatRequest): readonly ToolFunction[] | undefined {
  if (!choice || choice === 'none' || choice === 'auto') return undefined
  const fault = (message: string): ApiError =>
    new ApiError(400, `tool_choice: ${message}`, { param: 'tool_choice' })
  const functions = (tools ?? []).map((tool) => tool.function as ToolFunction)
  if (functions.length === 0) throw fault("there are no 'tools' to choose from")
  if (choice === 'required') return functions
  const chosen = functions.filter(({ name }) => name === choice.function.name)
  if (chosen.length === 0)
    throw fault(
      `there is no tool '${choice.function.name}'; there are: ${functions.map(({ name }) => name).join(', ')}`,
    )
  return chosen
}

/** Templates know no developers, and take the arguments of calls as objects. */
function ours(message: ChatRequest['messages'][number]): ChatMessage {
  const role = message.role === 'developer' ? 'system' : message.role
  const { tool_calls: calls } = message as { tool_calls?: unknown }
  const content = Array.isArray(message.content)
    ? message.content.map(({ text }) => text).join('')
    : (message.content ?? '')
  return {
    ...message,
    role,
    content,
    ...(Array.isArray(calls) && { tool_calls: calls.map(readCall) }),
  }
}

function readCall(call: unknown, i: number): object {
  const { function: called, ...rest } = call as { function?: { arguments?: unknown } }
  const { arguments: given } = called ?? {}
  if (typeof given !== 'string') return call as object
  try {
    return { ...rest, function: { ...called, arguments: JSON.parse(given) as unknown } }
  } catch {
    throw new ApiError(400, `tool_calls.${i}.function.arguments: not JSON`, { param: 'messages' })
  }
}

const scoredJson = ({ text, bytes, logprob }: Omit<ScoredTokenText, 'top' | 'token'>): object => ({
  token: text,
  logprob,
  bytes,
})
const logprobsJson = (tokens: readonly ScoredTokenText[]): object => ({
  content: tokens.map((token) => ({ ...scoredJson(token), top_logprobs: token.top.map(scoredJson) })),
  refusal: null,
})

type ToolFormat = Extract<CompletionEvent, { kind: 'prompt' }>['toolFormat']

/** What the model wrote, as a message: its text, and the calls in it. */
function messageOf(text: string, format: ToolFormat): { message: object; called: boolean; problem?: string } {
  if (!format) return { message: { role: 'assistant', content: text, refusal: null }, called: false }
  try {
    const { content, calls } = parseToolCalls(text, format)
    if (calls.length === 0)
      return { message: { role: 'assistant', content: text, refusal: null }, called: false }
    const toolCalls = calls.map(({ name, arguments: given }) => ({
      id: `call_${randomUUID().replaceAll('-', '').slice(0, 24)}`,
      type: 'function',
      function: { name, arguments: JSON.stringify(given) },
    }))
    return {
      message: {
        role: 'assistant',
        content: content === '' ? null : content,
        refusal: null,
        tool_calls: toolCalls,
      },
      called: true,
    }
  } catch (error) {
    if (!(error instanceof ToolCallError)) throw error
    // What cannot be read as a call is shown as it was written.
    return {
      message: { role: 'assistant', content: text, refusal: null },
      called: false,
      problem: error.message,
    }
  }
}

export async function wholeChat(
  head: Head,
  body: ChatRequest,
  events: AsyncIterable<CompletionEvent>,
  onEvent: (event: CompletionEvent) => void,
): Promise<object> {
  const usage = newUsage()
  const choices = Array.from({ length: body.n ?? 1 }, () => ({
    text: '',
    tokens: [] as ScoredTokenText[],
    finish: 'length' as 'stop' | 'length' | 'context',
    taps: undefined as object[] | undefined,
  }))
  let format: ToolFormat
  for await (const event of events) {
    onEvent(event)
    countTokens(usage, event)
    if (event.kind === 'prompt') {
      format = event.toolFormat
      continue
    }
    const choice = choices[event.choice]!
    if (event.kind === 'taps') choice.taps = tapsJson(event)
    else {
      choice.text += event.text
      if (event.kind === 'end') choice.finish = event.finish
      else if (event.scored) choice.tokens.push(event.scored)
    }
  }
  return {
    ...head,
    object: 'chat.completion',
    choices: choices.map(({ text, tokens, finish, taps }, index) => {
      const { message, called, problem } = messageOf(text, format)
      const more = { ...(taps && { taps }), ...(problem && { tool_call_error: problem }) }
      return {
        index,
        message,
        logprobs: body.logprobs ? logprobsJson(tokens) : null,
        finish_reason: called ? 'tool_calls' : finishReason(finish),
        ...(Object.keys(more).length > 0 && { glossa: more }),
      }
    }),
    usage,
  }
}

/** In chunks. Where tools were given, the text is held until it is known whether it is a call. */
export async function* chatChunks(
  head: Head,
  body: ChatRequest,
  events: AsyncIterable<CompletionEvent>,
): AsyncGenerator<object, void, void> {
  const usage = newUsage()
  const wantsUsage = body.stream_options?.include_usage
  const chunk = (index: number, delta: object, more: object = {}): object => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }],
    ...(wantsUsage && { usage: null }),
  })
  const held: string[] = []
  let format: ToolFormat
  for await (const event of events) {
    countTokens(usage, event)
    if (event.kind === 'prompt') {
      format = event.toolFormat
      for (let i = 0; i < (body.n ?? 1); i++)
        yield chunk(i, { role: 'assistant', content: format ? null : '', refusal: null })
      continue
    }
    const { choice } = event
    if (event.kind === 'taps') {
      yield chunk(choice, {}, { glossa: { taps: tapsJson(event) } })
      continue
    }
    if (format) held[choice] = (held[choice] ?? '') + event.text
    const logprobs =
      body.logprobs && event.kind === 'token' && event.scored
        ? { logprobs: logprobsJson([event.scored]) }
        : {}
    if (!format && (event.text !== '' || 'logprobs' in logprobs))
      yield chunk(choice, { content: event.text }, logprobs)
    if (event.kind !== 'end') continue
    let reason: string = finishReason(event.finish)
    if (format) {
      const { message, called, problem } = messageOf(held[choice] ?? '', format)
      const { tool_calls: calls, content } = message as { tool_calls?: object[]; content: string | null }
      if (content) yield chunk(choice, { content })
      if (calls) yield chunk(choice, { tool_calls: calls.map((call, index) => ({ index, ...call })) })
      if (problem) yield chunk(choice, {}, { glossa: { tool_call_error: problem } })
      if (called) reason = 'tool_calls'
    }
    yield chunk(choice, {}, { finish_reason: reason })
  }
  if (wantsUsage) yield { ...head, object: 'chat.completion.chunk', choices: [], usage }
}
