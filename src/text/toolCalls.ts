/**
 * Calls of tools in what a model wrote. Which of the usual notations a model uses is seen from its template,
 * which has to write such calls too.
 */

export interface ToolCall {
  readonly name: string
  readonly arguments: Readonly<Record<string, unknown>>
}

export interface ToolCalls {
  /** The text around the calls. */
  readonly content: string
  readonly calls: readonly ToolCall[]
}

/** `hermes` is that of Qwen too; `llama` is that of Llama 3.1 and later. */
export type ToolCallFormat = 'hermes' | 'mistral' | 'llama'

/** A call that cannot be read. Nothing is lost: `text` is all that the model wrote. */
export class ToolCallError extends Error {
  override readonly name = 'ToolCallError'
  readonly text: string

  constructor(reason: string, text: string) {
    super(`tool call: ${reason}`)
    this.text = text
  }
}

/** The notation that a chat template writes; undefined where it is none of these. */
export function toolCallFormat(template: string): ToolCallFormat | undefined {
  if (template.includes('<tool_call>')) return 'hermes'
  if (template.includes('[TOOL_CALLS]')) return 'mistral'
  if (template.includes('<|python_tag|>') || /"name": .*"parameters": /s.test(template)) return 'llama'
  return undefined
}

/** Takes the calls out of an answer. Throws a ToolCallError for one that is begun and cannot be read. */
export function parseToolCalls(text: string, format: ToolCallFormat): ToolCalls {
  return { hermes, mistral, llama }[format](text)
}

/** `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, any number of them. */
function hermes(text: string): ToolCalls {
  const calls: ToolCall[] = []
  const content = text.replace(/<tool_call>(.*?)(<\/tool_call>|$)/gs, (_, inside: string, end: string) => {
    if (end === '') throw new ToolCallError('<tool_call> has no end', text)
    calls.push(readCall(readJson(inside, text), text))
    return ''
  })
  return { content: content.trim(), calls }
}

/** `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]` at the end. */
function mistral(text: string): ToolCalls {
  const mark = '[TOOL_CALLS]'
  const at = text.indexOf(mark)
  if (at < 0) return { content: text, calls: [] }
  const value = readJson(text.slice(at + mark.length), text)
  if (!Array.isArray(value)) throw new ToolCallError('a list is expected after [TOOL_CALLS]', text)
  return { content: text.slice(0, at).trim(), calls: value.map((call) => readCall(call, text)) }
}

/**
 * `{"name": ..., "parameters": {...}}` and nothing else, several with semicolons between them; a
 * `<|python_tag|>` may come first. Other JSON without the tag is an answer, not a call.
 */
function llama(text: string): ToolCalls {
  const tag = '<|python_tag|>'
  const tagged = text.trimStart().startsWith(tag)
  const inside = tagged ? text.trimStart().slice(tag.length) : text
  if (!tagged && !/^\s*\{\s*"(?:name|type)"\s*:/.test(text)) return { content: text, calls: [] }
  const list = readJson(`[${inside.replace(/\}\s*;\s*(?=\{\s*")/g, '},')}]`, text) as unknown[]
  return { content: '', calls: list.map((call) => readCall(call, text)) }
}

function readJson(json: string, text: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    throw new ToolCallError(`not JSON: ${(error as Error).message}`, text)
  }
}

/** A call as models write it: the arguments have one of two names, and are sometimes JSON within a string. */
function readCall(value: unknown, text: string): ToolCall {
  const { name, arguments: own, parameters } = (value ?? {}) as Record<string, unknown>
  if (typeof name !== 'string') throw new ToolCallError('it has no name', text)
  const given = own ?? parameters ?? {}
  const read = typeof given === 'string' ? readJson(given, text) : given
  if (typeof read !== 'object' || read === null || Array.isArray(read))
    throw new ToolCallError(`the arguments of ${name} are not an object`, text)
  return { name, arguments: read as Record<string, unknown> }
}
