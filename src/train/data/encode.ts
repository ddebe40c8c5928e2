/** Examples as tokens, and which of them a model is trained to say. */
import type { Tokenizer } from '../../text/index.ts'
import { type ChatRendering, conversation, lastTurnOpen, promptAndCompletion } from './conversation.ts'
import { endToken } from './encodeRows.ts'
import {
  type ChatContext,
  type Example,
  type Format,
  FormatError,
  readExample,
  type Said,
} from './formats.ts'
import { mapRows } from './rows.ts'
import type { Row, Rows } from './types.ts'

export interface ExampleOptions extends ChatRendering {
  /** The format of the rows, where their keys do not tell it. */
  readonly format?: Format
  /** Train on completions, not on their prompts (default true). */
  readonly completionOnly?: boolean
  /** Train on the assistant's turns of messages, not on the others (default true; TRL's default is false). */
  readonly assistantOnly?: boolean
  /** What ends a text or completion that is no conversation: the tokenizer's `eos` if nothing is said, null for none. */
  readonly endOfText?: number | null
}

/**
 * A sequence and its targets: whether each token is one to predict. Of the first that matters only where rows are
 * wrapped one behind the other; the token that begins a text (`bos`) never is one.
 */
export interface TrainingTokens {
  readonly tokens: number[]
  readonly trained: boolean[]
}

export interface UnpairedTokens extends TrainingTokens {
  readonly label: boolean
}

/** A prompt and two ways to go on; `prompt` then `chosen` is a sequence, and so is `prompt` then `rejected`. */
export interface PreferenceTokens {
  readonly prompt: number[]
  readonly chosen: number[]
  readonly rejected: number[]
}

type Encode<T> = (row: Row, tokenizer: Tokenizer, options?: ExampleOptions) => T

/**
 * Text, messages or a prompt and its completion, for training to predict the next token. As in TRL, text and
 * completions end with the end-of-text token, and conversations as the chat template ends them. A token that spans
 * the seam of prompt and completion counts as completion.
 */
export const trainingTokens: Encode<TrainingTokens> = (row, tokenizer, options = {}) => {
  const { tokens, trained } = targets(readExample(row, options.format), tokenizer, options)
  if (tokens[0] === tokenizer.bos) trained[0] = false
  return { tokens, trained }
}

function targets(example: Example, tokenizer: Tokenizer, options: ExampleOptions): TrainingTokens {
  const { completionOnly = true, assistantOnly = true } = options
  switch (example.format) {
    case 'text': {
      const { tokens } = withEnd(example.text, tokenizer, options)
      return { tokens, trained: tokens.map(() => true) }
    }
    case 'messages': {
      const { text, spans } = conversation(tokenizer, example.messages, assistantOnly, chat(options, example))
      return marked(text, spans, tokenizer)
    }
    case 'prompt-completion':
    case 'unpaired': {
      const { tokens, from } = completed(example.prompt, example.completion, example, tokenizer, options)
      return { tokens, trained: tokens.map((_, at) => !completionOnly || at >= from) }
    }
    default:
      throw unfit(example, 'training to predict text takes text, messages, or prompt and completion')
  }
}

/** A prompt and a completion that was liked or not. */
export const unpairedTokens: Encode<UnpairedTokens> = (row, tokenizer, options = {}) => {
  const example = readExample(row, options.format)
  if (example.format !== 'unpaired') throw unfit(example, 'this takes prompt, completion and label')
  return { ...trainingTokens(row, tokenizer, options), label: example.label }
}

/** A prompt with a better and a worse completion. */
export const preferenceTokens: Encode<PreferenceTokens> = (row, tokenizer, options = {}) => {
  const example = readExample(row, options.format)
  if (example.format !== 'preference') throw unfit(example, 'preferences have chosen and rejected')
  const [chosen, rejected] = [example.chosen, example.rejected].map((said) =>
    completed(example.prompt, said, example, tokenizer, options),
  ) as [Completed, Completed]
  // The seam may be within a token of one and not of the other.
  const most = Math.min(chosen.from, rejected.from)
  let shared = 0
  while (shared < most && chosen.tokens[shared] === rejected.tokens[shared]) shared++
  return {
    prompt: chosen.tokens.slice(0, shared),
    chosen: chosen.tokens.slice(shared),
    rejected: rejected.tokens.slice(shared),
  }
}

/** A prompt for a model to go on from: with the beginning of the assistant's turn, or its last turn left open. */
export const promptTokens: Encode<number[]> = (row, tokenizer, options = {}) => {
  const example = readExample(row, options.format)
  if (!('prompt' in example)) throw unfit(example, 'this takes a prompt')
  const { prompt } = example
  if (typeof prompt === 'string') return tokenizer.encode(prompt).ids
  const text = lastTurnOpen(tokenizer, prompt, chat(options, example))
  return tokenizer.encode(text, { addSpecialTokens: false }).ids
}

/** All rows as tokens, each when it is asked for. An error names the row. */
export const encodeExamples = <T>(
  rows: Rows<Row>,
  encode: Encode<T>,
  tokenizer: Tokenizer,
  options: ExampleOptions = {},
): Rows<T> =>
  mapRows(rows, (row, index) => {
    try {
      return encode(row, tokenizer, options)
    } catch (error) {
      throw new Error(`row ${index}: ${(error as Error).message}`, { cause: error })
    }
  })

/** One time for all renderings of a row, or the day could change between a prefix and the whole. */
const chat = (options: ExampleOptions, { tools, variables }: ChatContext): ChatRendering & ChatContext => ({
  now: new Date(),
  ...options,
  tools,
  variables: { ...options.variables, ...variables },
})

interface Completed {
  readonly tokens: number[]
  /** The first token of the completion. */
  readonly from: number
}

function completed(
  prompt: Said,
  completion: Said,
  context: ChatContext,
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Completed {
  if (typeof prompt === 'string') {
    const { tokens, ends } = withEnd(`${prompt}${completion as string}`, tokenizer, options)
    return { tokens, from: firstBehind(ends, prompt.length) }
  }
  const rendering = chat(options, context)
  const { text, from } = promptAndCompletion(
    tokenizer,
    prompt,
    completion as Exclude<Said, string>,
    rendering,
  )
  const { ids, offsets } = tokenizer.encode(text, { addSpecialTokens: false })
  return {
    tokens: ids,
    from: firstBehind(
      offsets.map(([, end]) => end),
      from,
    ),
  }
}

/** The first token that ends behind a place in the text. */
function firstBehind(ends: readonly number[], place: number): number {
  const first = ends.findIndex((end) => end > place)
  return first < 0 ? ends.length : first
}

/** Text with the tokens around it, and where in the text each token ends. */
function withEnd(
  text: string,
  tokenizer: Tokenizer,
  { endOfText }: ExampleOptions,
): { tokens: number[]; ends: number[] } {
  const end = endToken(tokenizer, endOfText)
  const { ids: tokens, offsets } = tokenizer.encode(text)
  const ends = offsets.map(([, last]) => last)
  if (end !== undefined && tokens.at(-1) !== end) {
    tokens.push(end)
    ends.push(text.length + 1)
  }
  return { tokens, ends }
}

/** The tokens of a text, trained where they share a character with a span. */
function marked(
  text: string,
  spans: readonly (readonly [number, number])[],
  tokenizer: Tokenizer,
): TrainingTokens {
  const { ids, offsets } = tokenizer.encode(text, { addSpecialTokens: false })
  const trained = offsets.map(([start, end]) => spans.some(([from, to]) => end > from && start < to))
  return { tokens: ids, trained }
}

const unfit = ({ format }: Example, wanted: string): FormatError =>
  new FormatError(`the row has the format ${format}; ${wanted}`)
