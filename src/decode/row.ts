/** One prompt and its continuation so far. */
import { random } from '../array/index.ts'
import type { DecodeStream, Tokenizer } from '../text/index.ts'
import { argMax, draw, logSumExp, mostLikely, type TokenLogprob } from './logits.ts'
import type { Generation } from './options.ts'
import type { Rule } from './rule.ts'
import { StopTexts } from './stop.ts'

/** `stop`: a stop text or token; `length`: maxTokens; `context`: the model's last position is taken. */
export type FinishReason = 'stop' | 'length' | 'context'

export interface GenerateEvent {
  /** Index of the prompt; with `samples` the continuations of one prompt follow each other. */
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

/** State of one prompt's continuation. */
export class Row {
  readonly tokens: number[]
  readonly #stop: StopTexts
  readonly #stream: DecodeStream | undefined
  readonly #begin: number | undefined
  readonly #uniform: () => number
  readonly #promptLength: number
  readonly #rules: readonly Rule[]
  /** Whether a stop text has ended the row: nothing after it is shown. */
  #cut = false
  generated = 0
  finish: FinishReason | undefined

  /** `begin` is the token that stands before the text and is no part of it. */
  constructor(
    tokens: number[],
    options: Pick<Generation, 'stop'>,
    seed: number,
    tokenizer: Tokenizer | undefined,
    rules: readonly Rule[],
    begin = tokenizer?.bos,
  ) {
    this.tokens = tokens
    this.#promptLength = tokens.length
    this.#rules = rules
    this.#stop = new StopTexts(options.stop)
    this.#stream = tokenizer?.stream()
    this.#begin = begin
    this.#uniform = random.generator(seed)
  }

  /** Chooses the next token from f32 [vocab], which it may change. */
  choose(logits: Float32Array, greedy: boolean): number {
    const context = { tokens: this.tokens, promptLength: this.#promptLength, random: this.#uniform }
    for (const rule of this.#rules) rule(logits, context)
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

  /**
   * Takes the token that follows, by its logits f32 [vocab], and gives the events of this step; returns the token.
   * `room` is the most tokens that the row can have.
   */
  *advance(
    logits: Float32Array,
    index: number,
    { temperature, logprobs, maxTokens }: Pick<Generation, 'temperature' | 'logprobs' | 'maxTokens'>,
    { ends, room }: { readonly ends: ReadonlySet<number>; readonly room: number },
  ): Generator<GenerateEvent, number> {
    const top = logprobs === undefined ? undefined : mostLikely(logits, logprobs)
    const original = logprobs === undefined ? undefined : logits.slice()
    const token = this.choose(logits, temperature === 0)
    const logprob = original && original[token]! - logSumExp(original)
    if (ends.has(token)) this.finish = 'stop'
    else {
      const text = this.accept(token)
      yield { row: index, token, text, ...(top && { top }), ...(logprob !== undefined && { logprob }) }
      if (this.finish === undefined && this.generated >= maxTokens) this.finish = 'length'
      else if (this.finish === undefined && this.tokens.length >= room) this.finish = 'context'
    }
    if (this.finish !== undefined) yield { row: index, text: this.rest(), finish: this.finish }
    return token
  }
}
