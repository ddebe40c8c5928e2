/** The generation loop: prompts in, tokens out, one at a time for every row of the batch. */
import { random, tensor } from '../array/index.ts'
import type { Model, TapOptions } from '../model/index.ts'
import type { DecodeStream, Tokenizer } from '../text/index.ts'
import { type GenerateOptions, type Generation, parseOptions, rulesOf } from './options.ts'
import { argMax, draw, logSumExp, mostLikely, type Rule, type TokenLogprob } from './rules.ts'
import { scoreTokens } from './score.ts'
import { StopTexts } from './stop.ts'

/** `stop`: a stop text or token; `length`: maxTokens; `context`: the model's last position is taken. */
export type FinishReason = 'stop' | 'length' | 'context'

export interface GenerateEvent {
  /** Index of the prompt. */
  readonly row: number
  /** The token of this step; absent in a row's last event. */
  readonly token?: number
  /** Text that has become certain with it; may be empty, never part of a character. */
  readonly text: string
  /** With `logprobs`: by the model, before any rule, in nats. */
  readonly logprob?: number
  readonly top?: readonly TokenLogprob[]
  readonly finish?: FinishReason
}

export interface Context {
  readonly signal?: AbortSignal
  /** More rules, applied after those of the options. */
  readonly rules?: readonly Rule[]
  /** Edits that hold during generation. */
  readonly edit?: TapOptions['edit']
}

/** A prompt: text, which is encoded with the special tokens of the model, or token ids as they are. */
export type Prompt = string | readonly number[]

/** The token ids of a prompt. */
export function promptTokens(model: Model, prompt: Prompt): number[] {
  if (typeof prompt !== 'string') {
    if (prompt.length === 0) throw new Error('a prompt has no tokens')
    return [...prompt]
  }
  if (!model.tokenizer) throw new Error(`${model.path} has no tokenizer: give token ids instead of text`)
  const { ids } = model.tokenizer.encode(prompt)
  if (ids.length > 0) return ids
  if (model.tokenizer.bos === undefined)
    throw new Error('the prompt is empty and the model has no begin token')
  return [model.tokenizer.bos]
}

/** State of one prompt's continuation. */
class Row {
  readonly tokens: number[]
  readonly #stop: StopTexts
  readonly #stream: DecodeStream | undefined
  readonly #begin: number | undefined
  readonly #uniform: () => number
  /** Whether a stop text has ended the row: nothing after it is shown. */
  #cut = false
  generated = 0
  finish: FinishReason | undefined

  constructor(tokens: number[], options: Generation, seed: number, tokenizer: Tokenizer | undefined) {
    this.tokens = tokens
    this.#stop = new StopTexts(options.stop)
    this.#stream = tokenizer?.stream()
    this.#begin = tokenizer?.bos
    this.#uniform = random.generator(seed)
  }

  /** Chooses the next token from f32 [vocab], which it may change. */
  choose(logits: Float32Array, rules: readonly Rule[], greedy: boolean): number {
    for (const rule of rules) rule(logits, { tokens: this.tokens })
    const token = greedy ? argMax(logits) : draw(logits, this.#uniform())
    if (!Number.isFinite(logits[token]))
      throw new Error(`no token can follow: the logit of the best one is ${logits[token]}`)
    return token
  }

  /** Takes a token into the row; gives the text to show. */
  accept(token: number): string {
    // The text goes on where the prompt's ends: its space is not the first one, which decoding drops, and half
    // a character is completed.
    if (this.generated === 0)
      for (const prior of this.tokens) if (prior !== this.#begin) this.#stream?.push(prior)
    this.tokens.push(token)
    this.generated++
    const { text, stopped } = this.#stop.push(this.#stream?.push(token) ?? '')
    if (stopped) {
      this.finish = 'stop'
      this.#cut = true
    }
    return text
  }

  /** The text still held back when the row ends. */
  rest(): string {
    if (this.#cut) return ''
    const { text, stopped } = this.#stop.push(this.#stream?.flush() ?? '')
    return stopped ? text : text + this.#stop.flush()
  }
}

/**
 * Continues every prompt until each has finished. Events of one step come in the order of the rows; a row's
 * last event carries `finish`. Rows are independent: a batch gives what each prompt gives alone, up to the
 * rounding of the products. Aborting throws the signal's reason between two steps.
 */
export async function* generate(
  model: Model,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
  context: Context = {},
): AsyncGenerator<GenerateEvent, void, void> {
  const settings = parseOptions(options)
  const rules = [...rulesOf(settings), ...(context.rules ?? [])]
  const { tokenizer } = model
  if (settings.stop.length > 0 && !tokenizer)
    throw new Error(`stop texts need a tokenizer; ${model.path} has none`)
  const ends = new Set(settings.stopTokens ?? (tokenizer?.eos === undefined ? [] : [tokenizer.eos]))
  const seed = settings.seed ?? Math.floor(Math.random() * 2 ** 32)
  const rows = prompts.map(
    (prompt, i) =>
      new Row(
        promptTokens(model, prompt),
        settings,
        prompts.length === 1 ? seed : random.fold(seed, i),
        tokenizer,
      ),
  )
  if (rows.length === 0) return
  const longest = Math.max(...rows.map(({ tokens }) => tokens.length))
  if (longest > model.context)
    throw new RangeError(`a prompt of ${longest} tokens; the model was made for ${model.context}`)
  const capacity = Math.min(model.context, longest + settings.maxTokens)

  let cache = model.newCache(rows.length, capacity)
  const lengths = new Int32Array(rows.length)
  // Prompts are padded at the end: causal attention hides the padding, and later tokens overwrite it.
  let fresh = rows.map(({ tokens }) => tokens)
  while (rows.some(({ finish }) => finish === undefined)) {
    context.signal?.throwIfAborted()
    const width = Math.max(...fresh.map((row) => row.length))
    const step = await model.step(
      {
        tokens: model.rows(fresh.map((row) => [...row, ...new Array<number>(width - row.length).fill(0)])),
        cache,
        lengths: tensor(lengths.slice()),
        at: tensor(Int32Array.from(fresh, (row) => row.length - 1)),
      },
      { edit: context.edit ?? {} },
    )
    cache = step.cache
    const logits = (await step.logits.load()) as Float32Array
    const vocab = model.spec.vocab
    fresh.forEach((row, i) => {
      if (rows[i]!.finish === undefined) lengths[i]! += row.length
    })
    fresh = []
    for (const [i, row] of rows.entries()) {
      if (row.finish !== undefined) {
        fresh.push([0])
        continue
      }
      const own = logits.slice(i * vocab, (i + 1) * vocab)
      const top = settings.logprobs === undefined ? undefined : mostLikely(own, settings.logprobs)
      const original = settings.logprobs === undefined ? undefined : own.slice()
      const token = row.choose(own, rules, settings.temperature === 0)
      const logprob = original && original[token]! - logSumExp(original)
      fresh.push([token])
      if (ends.has(token)) row.finish = 'stop'
      else {
        const text = row.accept(token)
        yield { row: i, token, text, ...(top && { top }), ...(logprob !== undefined && { logprob }) }
        if (row.finish === undefined && row.generated >= settings.maxTokens) row.finish = 'length'
        else if (row.finish === undefined && row.tokens.length >= model.context) row.finish = 'context'
      }
      if (row.finish !== undefined) yield { row: i, text: row.rest(), finish: row.finish }
    }
    step.logits.dispose()
  }
}

export interface Completion {
  readonly text: string
  /** Generated tokens; a stop token is not among them. */
  readonly tokens: readonly number[]
  readonly finish: FinishReason
  readonly promptTokens: readonly number[]
  readonly logprobs?: readonly (TokenLogprob & { readonly top: readonly TokenLogprob[] })[]
  /** Log-probabilities of the prompt's tokens after the first, in nats. */
  readonly promptLogprobs?: readonly number[]
}

/** Runs `generate` to its end. */
export async function complete(
  model: Model,
  prompts: readonly Prompt[],
  options: GenerateOptions = {},
  context: Context = {},
): Promise<Completion[]> {
  const results = prompts.map((prompt) => ({
    text: '',
    tokens: [] as number[],
    finish: 'length' as FinishReason,
    promptTokens: promptTokens(model, prompt),
    ...(options.logprobs !== undefined && {
      logprobs: [] as (TokenLogprob & { top: readonly TokenLogprob[] })[],
    }),
  }))
  for await (const event of generate(model, prompts, options, context)) {
    const result = results[event.row]!
    result.text += event.text
    if (event.token !== undefined) {
      result.tokens.push(event.token)
      result.logprobs?.push({ token: event.token, logprob: event.logprob!, top: event.top! })
    }
    if (event.finish) result.finish = event.finish
  }
  if (!options.promptLogprobs) return results
  const scored: Completion[] = []
  for (const result of results)
    scored.push({ ...result, promptLogprobs: await scoreTokens(model, result.promptTokens) })
  return scored
}
