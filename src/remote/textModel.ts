/**
 * Anything that completes, scores and embeds: a local model or an endpoint. Methods that see texts and probabilities
 * alone take one, and run on a cluster by another URL.
 */

export interface Message {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}
/** A text to go on with, or a conversation to answer in. */
export type TextPrompt = string | readonly Message[]

export interface CompleteOptions {
  readonly maxTokens?: number
  /** 1 by default; 0 is greedy. */
  readonly temperature?: number
  readonly topP?: number
  readonly stop?: readonly string[]
  readonly seed?: number
  /** Texts for each prompt. */
  readonly samples?: number
  /** The text is JSON by it. */
  readonly jsonSchema?: object
}

export interface Completed {
  readonly text: string
  readonly finish: 'stop' | 'length'
}

export interface Scored {
  /** Nats, over the tokens of the continuation. */
  readonly logprob: number
  readonly tokens: number
  /** Whether greedy decoding gives the continuation. */
  readonly greedy: boolean
}

export interface TextModel {
  /** A name for people and for caches. */
  readonly id: string
  /** `samples` texts for each prompt, side by side. */
  complete(
    prompts: readonly TextPrompt[],
    options?: CompleteOptions,
    signal?: AbortSignal,
  ): Promise<Completed[][]>
  /** ln p(continuation | context) of each pair. */
  score(
    pairs: readonly (readonly [context: string, continuation: string])[],
    signal?: AbortSignal,
  ): Promise<Scored[]>
  /** A vector of length 1 for each text. */
  embed(texts: readonly string[], signal?: AbortSignal): Promise<Float32Array[]>
}
