/** A text model behind an OpenAI-compatible endpoint. */
import * as z from 'zod'
import { Endpoint, type EndpointOptions } from './endpoint.ts'
import type { Completed, CompleteOptions, Message, Scored, TextModel, TextPrompt } from './textModel.ts'

export interface RemoteOptions extends EndpointOptions {
  /** As the server calls it. */
  readonly model: string
  /** Requests at once. */
  readonly concurrency?: number
}

const finish = z.string().nullish()
const completion = z.object({
  choices: z.array(
    z.object({
      index: z.number().default(0),
      text: z.string(),
      finish_reason: finish,
      logprobs: z
        .object({
          tokens: z.array(z.string()),
          token_logprobs: z.array(z.number().nullable()),
          top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
          text_offset: z.array(z.number()),
        })
        .nullish(),
    }),
  ),
})
const chat = z.object({
  choices: z.array(
    z.object({
      index: z.number().default(0),
      message: z.object({ content: z.string().nullish() }),
      finish_reason: finish,
    }),
  ),
})
const embeddings = z.object({
  data: z.array(z.object({ index: z.number(), embedding: z.array(z.number()) })),
})

export function remoteModel({ model, concurrency = 16, ...options }: RemoteOptions): TextModel {
  const endpoint = new Endpoint(options)
  const ask = async <S extends z.ZodType>(
    path: string,
    body: object,
    schema: S,
    signal: AbortSignal | undefined,
  ): Promise<z.output<S>> => {
    const answer = schema.safeParse(await endpoint.post(path, { model, ...body }, { signal }))
    if (answer.success) return answer.data
    const [issue] = answer.error.issues
    throw new Error(
      `${endpoint.url(path)}: an answer that cannot be read: ${issue!.path.join('.')}: ${issue!.message}`,
    )
  }
  return {
    id: `${options.baseURL}#${model}`,
    complete: (prompts, given = {}, signal) =>
      limited(concurrency, prompts, async (prompt) => {
        const { path, body } = request(prompt, given)
        const { choices } = await ask(path, body, path === '/completions' ? completion : chat, signal)
        return [...choices]
          .sort((a, b) => a.index - b.index)
          .map(
            (choice): Completed => ({
              text: 'text' in choice ? choice.text : (choice.message.content ?? ''),
              finish: choice.finish_reason === 'length' ? 'length' : 'stop',
            }),
          )
      }),
    score: (pairs, signal) =>
      limited(concurrency, pairs, async ([context, continuation]) => {
        if (continuation === '') return { logprob: 0, tokens: 0, greedy: true }
        // Some servers refuse to generate nothing; the token more is left out below.
        const body = {
          prompt: context + continuation,
          max_tokens: 1,
          temperature: 0,
          echo: true,
          logprobs: 1,
        }
        const { choices } = await ask('/completions', body, completion, signal)
        const { logprobs } = choices[0] ?? {}
        if (!logprobs) throw new Error(`${endpoint.url('/completions')} gives no log-probabilities with echo`)
        return scoredOf(logprobs, context.length, context.length + continuation.length)
      }),
    embed: async (texts, signal) => {
      const { data } = await ask(
        '/embeddings',
        { input: texts, encoding_format: 'float' },
        embeddings,
        signal,
      )
      return [...data]
        .sort((a, b) => a.index - b.index)
        .map(({ embedding }) => {
          const length = Math.hypot(...embedding) || 1
          return Float32Array.from(embedding, (x) => x / length)
        })
    },
  }
}

function request(prompt: TextPrompt, options: CompleteOptions): { path: string; body: object } {
  const { maxTokens, temperature = 1, topP, stop, seed, samples, jsonSchema } = options
  const shared = {
    temperature,
    ...(maxTokens !== undefined && { max_tokens: maxTokens }),
    ...(topP !== undefined && { top_p: topP }),
    ...(stop && stop.length > 0 && { stop }),
    ...(seed !== undefined && { seed }),
    ...(samples !== undefined && samples > 1 && { n: samples }),
    ...(jsonSchema && {
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', schema: jsonSchema, strict: true },
      },
    }),
  }
  return typeof prompt === 'string'
    ? { path: '/completions', body: { ...shared, prompt } }
    : { path: '/chat/completions', body: { ...shared, messages: prompt as readonly Message[] } }
}

type Logprobs = NonNullable<z.output<typeof completion>['choices'][number]['logprobs']>

/** Tokens that lie in [from, to) of the text, one across its beginning with them. */
function scoredOf(
  { tokens, token_logprobs: values, top_logprobs: top, text_offset: offsets }: Logprobs,
  from: number,
  to: number,
): Scored {
  let logprob = 0
  let count = 0
  let greedy = true
  for (const [i, token] of tokens.entries()) {
    const [start, end] = [offsets[i]!, offsets[i]! + token.length]
    const own = values[i]
    if (end <= from || start >= to || own === null || own === undefined) continue
    logprob += own
    count++
    if (Object.values(top?.[i] ?? {}).some((other) => other > own)) greedy = false
  }
  return { logprob, tokens: count, greedy }
}

/** `run` over all items, at most so many at once, results in their order. The first failure is that of all. */
async function limited<T, R>(most: number, items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  const work = async (): Promise<void> => {
    while (next < items.length) {
      const i = next++
      results[i] = await run(items[i]!)
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, work))
  return results
}
