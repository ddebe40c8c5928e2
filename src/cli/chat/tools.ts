/** Tools of a conversation: their definitions in a file, and the calls in an answer. */
import * as z from 'zod'
import {
  type ChatMessage,
  type ChatOptions,
  chatTemplateSource,
  parseToolCalls,
  type Tokenizer,
  type ToolCall,
  ToolCallError,
  type ToolCallFormat,
  toolCallFormat,
} from '../../text/index.ts'
import { readText } from '../common.ts'

const toolsSchema = z
  .array(
    z.looseObject({
      type: z.literal('function'),
      function: z.looseObject({
        name: z.string().min(1),
        description: z.string().optional(),
        parameters: z.looseObject({}).optional(),
      }),
    }),
  )
  .min(1)
export type Tool = z.output<typeof toolsSchema>[number]

/** Definitions as OpenAI's interface has them: `[{ type: 'function', function: { name, parameters } }, ...]`. */
export function readTools(file: string): Tool[] {
  let value: unknown
  try {
    value = JSON.parse(readText(file))
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error(`${file}: not JSON: ${error.message}`)
    throw error
  }
  const result = toolsSchema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new Error(`${file}: not a list of tools: ${issue!.path.join('.') || 'it'}: ${issue!.message}`)
}

/** The notation in which the model calls tools; throws for a template that shows it none, or in another one. */
export function formatOf(tokenizer: Tokenizer, options: ChatOptions): ToolCallFormat {
  const source = chatTemplateSource(tokenizer, options)
  const format = /\btools\b/.test(source) ? toolCallFormat(source) : undefined
  if (!format)
    throw new Error(
      'the chat template tells the model of no tools, or in a notation that is not known (Hermes, Mistral, Llama 3.1): go without --tools, or give another template with --template FILE',
    )
  return format
}

export interface ReadCalls {
  /** What stands around the calls; all of the text where they cannot be read. */
  readonly content: string
  readonly toolCalls: readonly ToolCall[]
  /** Why a call that the text begins cannot be read. */
  readonly toolCallError?: string
}

export function readCalls(text: string, format: ToolCallFormat): ReadCalls {
  try {
    const { content, calls } = parseToolCalls(text, format)
    return { content, toolCalls: calls }
  } catch (error) {
    if (!(error instanceof ToolCallError)) throw error
    return { content: text, toolCalls: [], toolCallError: error.message }
  }
}

/** Calls as a message holds them. Some templates (Mistral's) demand ids of nine letters and digits. */
export const callsInMessage = (calls: readonly ToolCall[], first: number): object[] =>
  calls.map((call, i) => ({
    id: `call${`${first + i}`.padStart(5, '0')}`,
    type: 'function',
    function: call,
  }))

interface CallInMessage {
  readonly id?: string
  readonly function: { readonly name: string }
}

/** Calls of the last answer that have no result yet. */
export function openCalls(messages: readonly ChatMessage[]): CallInMessage[] {
  const at = messages.findLastIndex(({ role }) => role !== 'tool')
  const calls = (messages[at]?.tool_calls ?? []) as CallInMessage[]
  return calls.slice(messages.length - 1 - at)
}

/** The result of a call as a message. */
export const resultMessage = (call: CallInMessage, content: string): ChatMessage => ({
  role: 'tool',
  name: call.function.name,
  ...(call.id !== undefined && { tool_call_id: call.id }),
  content,
})
