/** A chat model of the AI SDK over `/v1/chat/completions`. */
import {
  APICallError,
  type JSONObject,
  type LanguageModelV3,
  type LanguageModelV3CallOptions,
  type LanguageModelV3Content,
  type LanguageModelV3FinishReason,
  type LanguageModelV3GenerateResult,
  type LanguageModelV3StreamPart,
  type LanguageModelV3StreamResult,
  type LanguageModelV3Usage,
  type SharedV3ProviderMetadata,
} from '@ai-sdk/provider'
import { type Endpoint, EndpointError } from '../remote/index.ts'
import { requestOf } from './prompt.ts'

interface ToolCall {
  readonly id: string
  readonly function: { readonly name: string; readonly arguments: string }
}
interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
}
/** What of an answer or a chunk is read. */
interface Answer {
  readonly id?: string
  readonly created?: number
  readonly model?: string
  readonly usage?: Usage | null
  readonly choices: readonly {
    readonly message?: { readonly content: string | null; readonly tool_calls?: readonly ToolCall[] }
    readonly delta?: { readonly content?: string | null; readonly tool_calls?: readonly ToolCall[] }
    readonly finish_reason?: string | null
    readonly glossa?: JSONObject
  }[]
}

const usageOf = (usage: Usage | null | undefined): LanguageModelV3Usage => ({
  inputTokens: {
    ...{ total: usage?.prompt_tokens, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
  },
  outputTokens: { total: usage?.completion_tokens, text: usage?.completion_tokens, reasoning: undefined },
})

const reasons: Readonly<Record<string, LanguageModelV3FinishReason['unified']>> = {
  stop: 'stop',
  length: 'length',
  tool_calls: 'tool-calls',
  content_filter: 'content-filter',
}
const finishOf = (raw: string | null | undefined): LanguageModelV3FinishReason => ({
  unified: (raw && reasons[raw]) || 'other',
  raw: raw ?? undefined,
})

const aboutOf = ({ id, created, model }: Answer): { id?: string; timestamp?: Date; modelId?: string } => ({
  ...(id !== undefined && { id }),
  ...(created !== undefined && { timestamp: new Date(1000 * created) }),
  ...(model !== undefined && { modelId: model }),
})

const metadataOf = (glossa: JSONObject | undefined): { providerMetadata?: SharedV3ProviderMetadata } =>
  glossa ? { providerMetadata: { glossa } } : {}

/** Errors as the AI SDK knows them, which decide whether it tries again. */
export function translated(error: unknown, body: unknown): unknown {
  if (!(error instanceof EndpointError)) return error
  const { message, url, status, headers, retryable } = error
  return new APICallError({
    ...{ message, url, requestBodyValues: body, statusCode: status, isRetryable: retryable, cause: error },
    ...{ responseHeaders: Object.fromEntries(headers), responseBody: error.body },
  })
}

export class GlossaLanguageModel implements LanguageModelV3 {
  readonly specificationVersion = 'v3'
  readonly provider = 'glossa.chat'
  readonly supportedUrls = {}
  readonly modelId: string
  readonly #endpoint: Endpoint

  constructor(modelId: string, endpoint: Endpoint) {
    this.modelId = modelId
    this.#endpoint = endpoint
  }

  async doGenerate(options: LanguageModelV3CallOptions): Promise<LanguageModelV3GenerateResult> {
    const { body, warnings } = requestOf(this.modelId, options)
    const { abortSignal: signal, headers } = options
    let answer: Answer
    try {
      answer = (await this.#endpoint.post('/chat/completions', body, { signal, headers })) as Answer
    } catch (error) {
      throw translated(error, body)
    }
    const [choice] = answer.choices
    const { content, tool_calls: calls = [] } = choice!.message!
    const parts: LanguageModelV3Content[] = content ? [{ type: 'text', text: content }] : []
    for (const call of calls) parts.push(callPart(call))
    return {
      content: parts,
      finishReason: finishOf(choice!.finish_reason),
      usage: usageOf(answer.usage),
      ...metadataOf(choice!.glossa),
      request: { body },
      response: { ...aboutOf(answer), body: answer },
      warnings,
    }
  }

  async doStream(options: LanguageModelV3CallOptions): Promise<LanguageModelV3StreamResult> {
    const { body: asked, warnings } = requestOf(this.modelId, options)
    const body = { ...asked, stream: true, stream_options: { include_usage: true } }
    const { abortSignal: signal, headers, includeRawChunks } = options
    const chunks = this.#endpoint.stream('/chat/completions', body, { signal, headers }) as AsyncGenerator<
      Answer,
      void,
      void
    >
    // The first chunk here, so that a refusal is thrown and not streamed.
    let first: IteratorResult<Answer, void>
    try {
      first = await chunks.next()
    } catch (error) {
      throw translated(error, body)
    }
    const parts = streamParts(first, chunks, includeRawChunks === true)
    const stream = new ReadableStream<LanguageModelV3StreamPart>({
      start: (controller) => controller.enqueue({ type: 'stream-start', warnings }),
      async pull(controller) {
        try {
          const { done, value } = await parts.next()
          if (done) controller.close()
          else controller.enqueue(value)
        } catch (error) {
          controller.enqueue({ type: 'error', error: translated(error, body) })
          controller.close()
        }
      },
      cancel: async () => {
        await parts.return()
      },
    })
    return { stream, request: { body } }
  }
}

const callPart = ({ id, function: { name, arguments: input } }: ToolCall) =>
  ({ type: 'tool-call', toolCallId: id, toolName: name, input }) as const

async function* streamParts(
  first: IteratorResult<Answer, void>,
  rest: AsyncGenerator<Answer, void, void>,
  raw: boolean,
): AsyncGenerator<LanguageModelV3StreamPart, void, void> {
  const id = '0'
  let writing = false
  let reason: string | null | undefined
  let usage: Usage | null | undefined
  let glossa: JSONObject | undefined
  try {
    let next = first
    if (!next.done) yield { type: 'response-metadata', ...aboutOf(next.value) }
    for (; !next.done; next = await rest.next()) {
      const chunk = next.value
      if (raw) yield { type: 'raw', rawValue: chunk }
      usage = chunk.usage ?? usage
      const [choice] = chunk.choices
      if (!choice) continue
      glossa = choice.glossa ? { ...glossa, ...choice.glossa } : glossa
      reason = choice.finish_reason ?? reason
      const { content, tool_calls: calls = [] } = choice.delta ?? {}
      if (content) {
        if (!writing) yield { type: 'text-start', id }
        writing = true
        yield { type: 'text-delta', id, delta: content }
      }
      for (const call of calls) {
        if (writing) yield { type: 'text-end', id }
        writing = false
        yield { type: 'tool-input-start', id: call.id, toolName: call.function.name }
        yield { type: 'tool-input-delta', id: call.id, delta: call.function.arguments }
        yield { type: 'tool-input-end', id: call.id }
        yield callPart(call)
      }
    }
    if (writing) yield { type: 'text-end', id }
    yield { type: 'finish', finishReason: finishOf(reason), usage: usageOf(usage), ...metadataOf(glossa) }
  } finally {
    await rest.return()
  }
}
