/** `/v1/completions`: texts that go on, with the prompt and its log-probabilities where they are wanted. */
import { ApiError } from '../errors.ts'
import type { CompletionEvent, CompletionRequest, ScoredTokenText } from '../host/types.ts'
import { type CompletionsRequest, constraintFields, samplingOptions } from './fields.ts'
import { countTokens, finishReason, type Head, newUsage, tapsJson, type Usage } from './reply.ts'

/** OpenAI's default. */
const defaultMaxTokens = 16

/** One request of the engine for each prompt. */
export function completionRequests(body: CompletionsRequest, caller: string): CompletionRequest[] {
  const { prompt, echo, logprobs, max_tokens: maxTokens } = body
  const prompts =
    typeof prompt === 'string'
      ? [{ text: prompt }]
      : typeof prompt[0] === 'number'
        ? [{ tokens: prompt as number[] }]
        : (prompt as (string | number[])[]).map((one) =>
            typeof one === 'string' ? { text: one } : { tokens: one },
          )
  const generates = maxTokens !== 0
  if (!generates && !echo)
    throw new ApiError(400, 'max_tokens 0 gives nothing without echo', { param: 'max_tokens' })
  if (body.stream && prompts.length > 1 && body.glossa?.taps.length)
    throw new ApiError(400, 'glossa.taps of several prompts do not stream', { param: 'glossa.taps' })
  return prompts.map((own) => ({
    model: body.model,
    prompt: own,
    options: {
      ...samplingOptions(body),
      ...(generates && { maxTokens: maxTokens ?? defaultMaxTokens }),
      ...(typeof logprobs === 'number' && { logprobs }),
    },
    generates,
    ...(echo && { scorePrompt: typeof logprobs === 'number' ? logprobs : 0 }),
    constrain: constraintFields(body),
    glossa: body.glossa,
    caller,
  }))
}

/** OpenAI's older form: lists side by side. */
interface Logprobs {
  tokens: string[]
  token_logprobs: (number | null)[]
  top_logprobs: (Record<string, number> | null)[]
  text_offset: number[]
}

/** Lists of tokens; offsets go on from `offset`. */
function logprobsOf(tokens: readonly ScoredTokenText[], offset: number): Logprobs {
  const found: Logprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  let at = offset
  for (const { text, logprob, top } of tokens) {
    found.tokens.push(text)
    found.token_logprobs.push(logprob)
    found.text_offset.push(at)
    at += text.length
    if (logprob === null) found.top_logprobs.push(null)
    else {
      const likely: Record<string, number> = {}
      // Two tokens can have one text: the likelier one counts.
      for (const one of top) likely[one.text] ??= one.logprob!
      // The token itself is always among them.
      likely[text] ??= logprob
      found.top_logprobs.push(likely)
    }
  }
  return found
}

interface Choice {
  text: string
  index: number
  logprobs: Logprobs | null
  finish_reason: 'stop' | 'length' | null
  glossa?: { taps: object[] }
}

/** The choices of one prompt; `first` is the index of its first one. */
class PromptChoices {
  readonly #body: CompletionsRequest
  readonly #first: number
  #prompt: readonly ScoredTokenText[] = []
  readonly #offsets: number[] = []

  constructor(body: CompletionsRequest, first: number) {
    this.#body = body
    this.#first = first
  }

  get #count(): number {
    return this.#body.n ?? 1
  }

  /** What an event adds to which choices. */
  parts(event: CompletionEvent): Choice[] {
    const { logprobs, echo } = this.#body
    const wanted = typeof logprobs === 'number'
    const piece = (choice: number, text: string, tokens: readonly ScoredTokenText[]): Choice => {
      const offset = this.#offsets[choice] ?? 0
      const own = tokens.reduce((sum, token) => sum + token.text.length, 0)
      this.#offsets[choice] = offset + (wanted ? own : text.length)
      return {
        text,
        index: this.#first + choice,
        logprobs: wanted ? logprobsOf(tokens, offset) : null,
        finish_reason: null,
      }
    }
    switch (event.kind) {
      case 'prompt': {
        if (!echo) return []
        this.#prompt = event.scored ?? []
        const text = this.#prompt.map((token) => token.text).join('')
        return Array.from({ length: this.#count }, (_, choice) => piece(choice, text, this.#prompt))
      }
      case 'token':
        return [piece(event.choice, event.text, event.scored ? [event.scored] : [])]
      case 'end':
        return [{ ...piece(event.choice, event.text, []), finish_reason: finishReason(event.finish) }]
      case 'taps':
        return [{ ...piece(event.choice, '', []), glossa: { taps: tapsJson(event) } }]
    }
  }
}

/** The whole answer. Prompts are continued side by side. */
export async function wholeCompletion(
  head: Head,
  body: CompletionsRequest,
  streams: readonly AsyncIterable<CompletionEvent>[],
  onEvent: (event: CompletionEvent) => void,
): Promise<object> {
  const usage = newUsage()
  const n = body.n ?? 1
  const choices: Choice[] = Array.from({ length: n * streams.length }, (_, index) => ({
    text: '',
    index,
    logprobs: null,
    finish_reason: null,
  }))
  await Promise.all(
    streams.map(async (stream, i) => {
      const prompt = new PromptChoices(body, i * n)
      for await (const event of stream) {
        onEvent(event)
        countTokens(usage, event)
        for (const part of prompt.parts(event)) join(choices[part.index]!, part)
      }
    }),
  )
  // Without generation the echo is all that was asked for.
  for (const choice of choices) choice.finish_reason ??= 'length'
  return { ...head, object: 'text_completion', choices, usage }
}

function join(choice: Choice, part: Choice): void {
  choice.text += part.text
  choice.finish_reason = part.finish_reason ?? choice.finish_reason
  if (part.glossa) choice.glossa = part.glossa
  if (!part.logprobs) return
  choice.logprobs ??= { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  for (const key of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const)
    (choice.logprobs[key] as unknown[]).push(...part.logprobs[key])
}

/** The same in chunks. */
export async function* completionChunks(
  head: Head,
  body: CompletionsRequest,
  streams: readonly AsyncIterable<CompletionEvent>[],
  merge: <T>(streams: readonly AsyncIterable<T>[]) => AsyncIterable<T>,
): AsyncGenerator<object, void, void> {
  const usage: Usage = newUsage()
  const n = body.n ?? 1
  const numbered = streams.map(async function* (stream, i) {
    for await (const event of stream) yield [i, event] as const
  })
  const prompts = streams.map((_, i) => new PromptChoices(body, i * n))
  const wantsUsage = body.stream_options?.include_usage
  for await (const [i, event] of merge(numbered)) {
    countTokens(usage, event)
    for (const part of prompts[i]!.parts(event))
      yield { ...head, object: 'text_completion', choices: [part], ...(wantsUsage && { usage: null }) }
  }
  if (wantsUsage) yield { ...head, object: 'text_completion', choices: [], usage }
}
