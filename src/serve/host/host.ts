/** What runs beside the engine: models, and all that is asked of them. Its functions are what the HTTP side calls. */
import { random } from '../../array/index.ts'
import {
  type Constraint,
  constraint,
  meanState,
  type OutputForm,
  parseOptions,
  plainChat,
  promptTokens,
  scoreTop,
  type TokenLogprob,
} from '../../decode/index.ts'
import { sentenceVectors } from '../../embed/index.ts'
import { type Edits, joinEdits, type Model } from '../../model/index.ts'
import {
  applyChatTemplate,
  chatTemplateSource,
  type Tokenizer,
  type ToolCallFormat,
  toolCallFormat,
} from '../../text/index.ts'
import { invalid } from '../errors.ts'
import { editsOf } from './edits.ts'
import { merged } from './merge.ts'
import { type OpenDecoder, Pool, type PoolOptions } from './pool.ts'
import { TapReader } from './taps.ts'
import type {
  CompletionEvent,
  CompletionRequest,
  EmbedRequest,
  HostStats,
  ModelInfo,
  PromptRequest,
  ScoredTokenText,
  TokenText,
} from './types.ts'

export interface HostOptions extends PoolOptions {
  /** Folders of SAEs whose features a request may ask for, by name. */
  readonly saes?: Readonly<Record<string, string>>
}

interface Prompt {
  readonly ids: number[]
  /** Whether the first one marks the beginning, and is no part of the text. */
  readonly marked?: boolean
  readonly toolFormat?: ToolCallFormat | undefined
}

export class Host {
  readonly pool: Pool
  readonly #taps: TapReader

  constructor(options: HostOptions) {
    this.pool = new Pool(options)
    this.#taps = new TapReader(options.saes ?? {})
  }

  /** Its functions, to be exposed at a port. */
  get service() {
    return {
      models: async (): Promise<ModelInfo[]> => this.pool.list(),
      stats: async (): Promise<HostStats> => this.stats(),
      complete: (request: CompletionRequest, signal: AbortSignal) => this.complete(request, signal),
      embed: (request: EmbedRequest) => this.embed(request),
      tokenize: ({ model, text }: { model: string; text: string }) => this.tokenize(model, text),
      detokenize: ({ model, tokens }: { model: string; tokens: readonly number[] }) =>
        this.detokenize(model, tokens),
      close: () => this.pool.close(),
    }
  }

  stats(): HostStats {
    return {
      models: this.pool.open.flatMap(([model, open]) =>
        open.kind === 'decoder' ? [{ model, ...open.batcher.stats }] : [],
      ),
      memory: process.memoryUsage().rss,
    }
  }

  complete(request: CompletionRequest, signal: AbortSignal): AsyncGenerator<CompletionEvent, void, void> {
    return this.pool.streamWith(request.model, (open) => {
      if (open.kind !== 'decoder')
        throw invalid(`'${request.model}' is an encoder: it makes embeddings and writes no text`)
      return this.#complete(open, request, signal)
    })
  }

  async *#complete(
    open: OpenDecoder,
    request: CompletionRequest,
    signal: AbortSignal,
  ): AsyncGenerator<CompletionEvent, void, void> {
    const { model, batcher } = open
    const { glossa, scorePrompt, generates = true, caller } = request
    const prompt = refused(() => readPrompt(model, request.prompt))
    const { ids } = prompt
    if (ids.length > model.context)
      throw invalid(
        `the prompt has ${ids.length} tokens, and the model has ${model.context} positions`,
        'context_length_exceeded',
      )
    if (generates && ids.length === model.context)
      throw invalid(
        `the prompt takes all ${model.context} positions of the model: nothing can follow`,
        'context_length_exceeded',
      )
    const settings = refused(() =>
      parseOptions({
        ...request.options,
        maxTokens: request.options.maxTokens ?? model.context - ids.length,
      }),
    )
    const draws = generates && settings.temperature > 0
    const methods = await open
      .methods(glossa?.with ?? [], generates)
      .catch((error: Error) => Promise.reject(invalid(`glossa.with: ${error.message}`)))
    const edit = joinEdits(
      methods.edit,
      refused(() => editsOf(model, glossa?.edits ?? [])),
    )
    if (model.sealed && Object.keys(edit).length > 0)
      throw invalid(
        'the model runs with rounded weights, which take no edits: start the server with --weights f32',
      )
    const reads = refused(() => this.#taps.check(model, glossa?.taps ?? []))
    const constrain = request.constrain && refused(() => constraintOf(model, request.constrain!, prompt))

    const texts: number[][] = []
    const choices: AsyncIterable<CompletionEvent>[] = []
    // Ends rows that have been submitted and are never read.
    const leaving = new AbortController()
    try {
      if (generates) {
        const { samples, promptLogprobs: _, ...row } = settings
        const seed = settings.seed ?? Math.floor(Math.random() * 2 ** 32)
        const context = {
          ...{ caller, edit, signal: AbortSignal.any([signal, leaving.signal]) },
          ...{ rules: draws ? [...open.rules, ...methods.rules] : [], ...(constrain && { constrain }) },
        }
        for (let choice = 0; choice < samples; choice++) {
          const own: number[] = []
          texts.push(own)
          const drawn = { ...row, seed: samples === 1 ? seed : random.fold(seed, choice) }
          choices.push(choiceEvents(model, choice, batcher.submit(ids, drawn, context), own))
        }
      }
      yield {
        kind: 'prompt',
        tokens: ids.length,
        ...(prompt.toolFormat && { toolFormat: prompt.toolFormat }),
        ...(scorePrompt !== undefined && { scored: await scoredPrompt(model, prompt, scorePrompt, edit) }),
      }
      yield* merged(choices)
    } finally {
      leaving.abort()
    }
    if (reads)
      for (const [choice, own] of (generates ? texts : [[]]).entries())
        yield { kind: 'taps', choice, taps: await reads([...ids, ...own], edit) }
  }

  async embed({ model: name, inputs }: EmbedRequest): Promise<{ vectors: Float32Array[]; tokens: number }> {
    return this.pool.with(name, async ({ model }) => {
      const rows = inputs.map((input, i) => {
        const ids = refused(() => idsOf(model, input))
        if (ids.length === 0) throw invalid(`input ${i} has no tokens`)
        if (ids.length > model.context)
          throw invalid(
            `input ${i} has ${ids.length} tokens, and the model has ${model.context} positions`,
            'context_length_exceeded',
          )
        return ids
      })
      const tokens = rows.reduce((sum, { length }) => sum + length, 0)
      if ('score' in model) {
        const vectors: Float32Array[] = []
        for (const ids of rows) vectors.push(await meanState(model, ids))
        return { vectors, tokens }
      }
      return { vectors: await sentenceVectors(model, rows, { normalize: true }), tokens }
    })
  }

  async tokenize(name: string, text: string): Promise<number[]> {
    return this.pool.with(name, async ({ model }) => refused(() => [...idsOf(model, text)]))
  }

  async detokenize(name: string, tokens: readonly number[]): Promise<string> {
    return this.pool.with(name, async ({ model }) =>
      refused(() => tokenizerOf(model).decode([...tokens], { skipSpecialTokens: false })),
    )
  }
}

/** Runs what fails by the caller's fault alone. */
function refused<T>(run: () => T): T {
  try {
    return run()
  } catch (error) {
    // Ours: no caller has made it.
    if (error instanceof ReferenceError) throw error
    if ((error as { code?: unknown }).code !== undefined) throw error
    throw invalid((error as Error).message)
  }
}

const tokenizerOf = ({ tokenizer, path }: Pick<Model, 'tokenizer' | 'path'>): Tokenizer => {
  if (!tokenizer) throw invalid(`${path} has no tokenizer: give token ids instead of text`)
  return tokenizer
}

function idsOf(
  model: Pick<Model, 'tokenizer' | 'path' | 'rows'> | { tokenizer?: Tokenizer | undefined; path: string },
  input: string | readonly number[],
): readonly number[] {
  return typeof input === 'string' ? promptTokens(model as Model, input) : input
}

function readPrompt(model: Model, prompt: PromptRequest): Prompt {
  if ('tokens' in prompt) {
    model.rows([prompt.tokens])
    return { ids: [...prompt.tokens] }
  }
  if ('text' in prompt) {
    const ids = promptTokens(model, prompt.text)
    const { tokenizer } = model
    // An empty prompt is the beginning of a text.
    const begin = tokenizer?.bos ?? tokenizer?.eos
    if (ids.length === 0) {
      if (begin === undefined) throw invalid('the prompt has no tokens')
      return { ids: [begin], marked: true }
    }
    const marked = ids[0] === begin && !prompt.text.startsWith(tokenizer!.token(ids[0]!))
    return { ids, marked }
  }
  const tokenizer = tokenizerOf(model)
  const { messages, tools } = prompt
  if (tokenizer.chatTemplate === undefined) {
    if (tools) throw invalid("the model has no chat template, and so no tools: ask without 'tools'")
    return { ids: promptTokens(model, plainChat(messages)) }
  }
  const toolFormat = tools && toolCallFormat(chatTemplateSource(tokenizer, { tools }))
  if (tools && !toolFormat)
    throw invalid("the model's chat template has no tool calls that could be read: ask without 'tools'")
  return { ids: applyChatTemplate(tokenizer, messages, tools ? { tools } : {}).ids, toolFormat }
}

function constraintOf(
  model: Model,
  constrain: NonNullable<CompletionRequest['constrain']>,
  { toolFormat }: Prompt,
): Constraint {
  const form = 'calls' in constrain ? { ...constrain, format: toolFormat! } : constrain
  return constraint(tokenizerOf(model), form as OutputForm)
}

/** A token with its text and bytes. A control token has its name. */
function tokenText({ tokenizer }: Model, token: number): TokenText {
  if (!tokenizer) return { token, text: `${token}`, bytes: [] }
  if (tokenizer.isSpecial(token)) {
    const text = tokenizer.token(token)
    return { token, text, bytes: [...Buffer.from(text)] }
  }
  const bytes = [...tokenizer.bytes(token)]
  return { token, text: Buffer.from(bytes).toString('utf8'), bytes }
}

const scoredText = (
  model: Model,
  { token, logprob }: TokenLogprob,
  top: readonly TokenLogprob[],
): ScoredTokenText => ({
  ...tokenText(model, token),
  logprob,
  top: top.map((one) => ({ ...tokenText(model, one.token), logprob: one.logprob })),
})

/** A prompt with the log-probability of each token after the first; that of a mark of the beginning is left out. */
async function scoredPrompt(
  model: Model,
  { ids, marked }: Prompt,
  count: number,
  edit: Edits,
): Promise<ScoredTokenText[]> {
  const scored = await scoreTop(model, ids, count, edit)
  const first = marked ? [] : [{ ...tokenText(model, ids[0]!), logprob: null, top: [] }]
  return [...first, ...scored.map((one) => scoredText(model, one, one.top))]
}

async function* choiceEvents(
  model: Model,
  choice: number,
  events: AsyncIterable<{
    token?: number
    text: string
    logprob?: number
    top?: readonly TokenLogprob[]
    finish?: 'stop' | 'length' | 'context'
  }>,
  tokens: number[],
): AsyncGenerator<CompletionEvent, void, void> {
  for await (const { token, text, logprob, top, finish } of events) {
    if (token !== undefined) {
      tokens.push(token)
      const scored = logprob === undefined ? undefined : scoredText(model, { token, logprob }, top ?? [])
      yield { kind: 'token', choice, text, ...(scored && { scored }) }
    }
    if (finish) yield { kind: 'end', choice, text: token === undefined ? text : '', finish }
  }
}
