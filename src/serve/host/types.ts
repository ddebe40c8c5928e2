/** What is asked of the engine's thread, and what it answers. All of it can be copied between threads. */
import * as z from 'zod'
import type { GenerateOptions, ToolFunction } from '../../decode/index.ts'
import type { ChatMessage } from '../../text/index.ts'

const site = z.string().min(1)

/** A small change of activations, without a method. */
export const editSchema = z.discriminatedUnion('op', [
  z.strictObject({
    op: z.literal('add'),
    site,
    vector: z.union([z.array(z.number()).nonempty(), z.base64()]).describe('Numbers, or base64 of float32'),
    strength: z.number().default(1),
  }),
  z.strictObject({ op: z.literal('scale'), site, factor: z.number() }),
  z.strictObject({ op: z.literal('zero'), site }),
])
export type EditRequest = z.output<typeof editSchema>

/** Activations that are wanted back, as they are or as the features of an SAE that the server has. */
export const tapSchema = z.union([
  site,
  z.strictObject({ sae: z.string().min(1), top: z.int().positive().max(1024).default(16) }),
])
export type TapRequest = z.output<typeof tapSchema>

/** The field `glossa` of a request. */
export const glossaSchema = z.strictObject({
  with: z.array(z.string().min(1)).default([]).describe('Methods by their specs, `id:key=value`'),
  edits: z.array(editSchema).default([]),
  taps: z.array(tapSchema).default([]),
})
export type GlossaRequest = z.output<typeof glossaSchema>

export type PromptRequest =
  | { readonly text: string }
  | { readonly tokens: readonly number[] }
  | { readonly messages: readonly ChatMessage[]; readonly tools?: readonly object[] | undefined }

export interface CompletionRequest {
  readonly model: string
  readonly prompt: PromptRequest
  /** With `samples`; without a `maxTokens` as many as fit. */
  readonly options: GenerateOptions
  /** What the answer must be: `calls` is one call of one of these tools, in the notation of the model. */
  readonly constrain?:
    | { readonly jsonSchema: object }
    | { readonly grammar: string }
    | { readonly calls: readonly ToolFunction[] }
    | undefined
  /** Score the prompt, with so many alternatives at each token. */
  readonly scorePrompt?: number | undefined
  /** False: nothing is generated, `scorePrompt` alone. */
  readonly generates?: boolean
  readonly glossa?: GlossaRequest | undefined
  /** Who asks, for turns. */
  readonly caller: string
}

/** A token as people read it. */
export interface TokenText {
  readonly token: number
  readonly text: string
  readonly bytes: readonly number[]
}
export interface ScoredText extends TokenText {
  /** Nats; null for the first token of a text. */
  readonly logprob: number | null
}
export interface ScoredTokenText extends ScoredText {
  readonly top: readonly ScoredText[]
}

export interface SiteValues {
  readonly site: string
  /** Of the tokens, prompt included, by position. */
  readonly shape: readonly number[]
  readonly data: Float32Array
}
export interface FeatureValues {
  readonly sae: string
  readonly site: string
  /** The most active features of each token, most active first. */
  readonly features: readonly (readonly { readonly feature: number; readonly activation: number }[])[]
}

export type CompletionEvent =
  | {
      readonly kind: 'prompt'
      readonly tokens: number
      readonly scored?: readonly ScoredTokenText[]
      readonly text?: string
      /** How the model writes calls of tools, where it was given some. */
      readonly toolFormat?: 'hermes' | 'mistral' | 'llama'
    }
  | {
      readonly kind: 'token'
      readonly choice: number
      /** That has become certain with it. */
      readonly text: string
      /** With log-probabilities. */
      readonly scored?: ScoredTokenText
    }
  | {
      readonly kind: 'end'
      readonly choice: number
      readonly text: string
      readonly finish: 'stop' | 'length' | 'context'
    }
  | { readonly kind: 'taps'; readonly choice: number; readonly taps: readonly (SiteValues | FeatureValues)[] }

export interface ModelInfo {
  readonly id: string
  readonly kind: 'decoder' | 'encoder' | 'encoder-decoder'
  readonly loaded: boolean
  /** Unix seconds of its files. */
  readonly created: number
}

export interface EmbedRequest {
  readonly model: string
  readonly inputs: readonly (string | readonly number[])[]
}

export interface HostStats {
  readonly models: readonly {
    readonly model: string
    readonly running: number
    readonly queued: number
    readonly slots: number
    readonly steps: number
    readonly promptTokens: number
    readonly reusedTokens: number
    readonly generatedTokens: number
  }[]
  readonly memory: number
}
