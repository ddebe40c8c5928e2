/**
 * TRL's row formats, told apart by their keys.
 *
 *   text                {text}
 *   messages            {messages}, also {conversations} of {from, value}
 *   prompt-completion   {prompt, completion}
 *   unpaired            {prompt, completion, label}
 *   preference          {prompt, chosen, rejected}, or {chosen, rejected} that begin alike
 *   prompt              {prompt}
 *
 * A prompt and what follows it are strings or lists of messages, which can come with {tools} and
 * {chat_template_kwargs}. Further columns are let be.
 *
 * https://huggingface.co/docs/trl/dataset_formats
 */
import { isDeepStrictEqual } from 'node:util'
import type { ChatMessage } from '../../text/index.ts'
import type { Row } from './types.ts'

export type Format = 'text' | 'messages' | 'prompt-completion' | 'unpaired' | 'preference' | 'prompt'

/** Text as it is, or messages for a chat template. */
export type Said = string | readonly ChatMessage[]

export interface ChatContext {
  readonly tools?: readonly object[] | undefined
  /** Variables of the template. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined
}

export type Example = ChatContext &
  (
    | { readonly format: 'text'; readonly text: string }
    | { readonly format: 'messages'; readonly messages: readonly ChatMessage[] }
    | { readonly format: 'prompt-completion'; readonly prompt: Said; readonly completion: Said }
    | {
        readonly format: 'unpaired'
        readonly prompt: Said
        readonly completion: Said
        readonly label: boolean
      }
    | { readonly format: 'preference'; readonly prompt: Said; readonly chosen: Said; readonly rejected: Said }
    | { readonly format: 'prompt'; readonly prompt: Said }
  )

const formatKeys: Readonly<Record<Format, readonly string[]>> = {
  text: ['text'],
  messages: ['messages'],
  prompt: ['prompt'],
  'prompt-completion': ['prompt', 'completion'],
  unpaired: ['prompt', 'completion', 'label'],
  preference: ['chosen', 'rejected'],
}
const formats = Object.keys(formatKeys) as Format[]

/** What a format goes before, having its keys and more. A preference may or may not come with its prompt. */
const within: Readonly<Record<Format, readonly Format[]>> = {
  text: [],
  messages: [],
  prompt: [],
  'prompt-completion': ['prompt'],
  unpaired: ['prompt', 'prompt-completion'],
  preference: ['prompt'],
}

/** A row that is in none of the formats, or in several. */
export class FormatError extends Error {
  override readonly name = 'FormatError'
}

/** The format of a row by its keys; FormatError where that is none or not clear. */
export function formatOf(row: Row): Format {
  const keys = keysOf(row)
  const fitting = formats.filter((format) => formatKeys[format].every((key) => keys.has(key)))
  const [format, ...others] = fitting.filter((one) => !fitting.some((other) => within[other].includes(one)))
  if (format === undefined) throw new FormatError(`a row has the columns ${list(keys)}, ${known()}`)
  if (others.length === 0) return format
  throw new FormatError(
    `a row with the columns ${list(keys)} can be read as ${[format, ...others].join(' or as ')}: name the format`,
  )
}

/** A row as an example of a format (default: the one that its keys tell). FormatError for values that do not fit. */
export function readExample(row: Row, format: Format = formatOf(row)): Example {
  const missing = formatKeys[format].filter((key) => !keysOf(row).has(key))
  if (missing.length > 0)
    throw new FormatError(
      `a row of the format ${format} has no ${missing.join(', ')}: it has ${list(keysOf(row))}`,
    )
  const context = contextOf(row)
  switch (format) {
    case 'text':
      if (typeof row.text !== 'string') throw new FormatError(`text is ${typeName(row.text)}, not a string`)
      return { format, text: row.text }
    case 'messages':
      return { format, ...context, messages: messagesOf(row.messages ?? row.conversations, 'messages') }
    case 'prompt':
      return { format, ...context, prompt: said(row, 'prompt') }
    case 'preference':
      return { format, ...context, ...preference(row) }
    case 'prompt-completion':
    case 'unpaired': {
      const [prompt, completion] = [said(row, 'prompt'), said(row, 'completion')]
      alike('prompt', prompt, 'completion', completion)
      if (format === 'prompt-completion') return { format, ...context, prompt, completion }
      return { format, ...context, prompt, completion, label: labelOf(row.label) }
    }
  }
}

/** Columns that have a value; tables fill those that a row lacks with null. */
function keysOf(row: Row): Set<string> {
  const keys = new Set(Object.keys(row).filter((key) => row[key] !== null && row[key] !== undefined))
  if (keys.delete('conversations')) keys.add('messages')
  return keys
}

function contextOf(row: Row): ChatContext {
  const tools = typeof row.tools === 'string' && row.tools !== '' ? parsed(row.tools, 'tools') : row.tools
  if (tools && !Array.isArray(tools)) throw new FormatError(`tools is ${typeName(tools)}, not a list`)
  const variables = row.chat_template_kwargs
  if (variables && typeof variables !== 'object')
    throw new FormatError(`chat_template_kwargs is ${typeName(variables)}, not an object`)
  return {
    // Templates announce an empty list of tools.
    tools: tools && (tools as object[]).length > 0 ? (tools as object[]) : undefined,
    variables: (variables as Record<string, unknown> | null) ?? undefined,
  }
}

function parsed(text: string, key: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new FormatError(`${key} is text that is not JSON (${(error as Error).message})`)
  }
}

function said(row: Row, key: string): Said {
  const value = row[key]
  return typeof value === 'string' ? value : messagesOf(value, key)
}

function messagesOf(value: unknown, key: string): ChatMessage[] {
  if (!Array.isArray(value))
    throw new FormatError(`${key} is ${typeName(value)}, no string and no list of messages`)
  if (value.length === 0) throw new FormatError(`${key} has no messages`)
  return value.map((message, index) => messageOf(message, `${key}[${index}]`))
}

/** A message without the keys that a table has filled with null; templates ask whether a key is there. */
function messageOf(value: unknown, place: string): ChatMessage {
  const { from, value: content, ...rest } = Object(value) as Record<string, unknown>
  const own = {
    ...(from !== undefined && { role: from }),
    ...(content !== undefined && { content }),
    ...rest,
  }
  const kept = Object.entries(own).filter(([key, member]) => key === 'content' || member !== null)
  const message = Object.fromEntries(kept) as Record<string, unknown>
  if (typeof message.role !== 'string') throw new FormatError(`${place} has no role: ${preview(value)}`)
  return message as ChatMessage
}

function alike(first: string, one: Said, second: string, other: Said): void {
  if ((typeof one === 'string') !== (typeof other === 'string'))
    throw new FormatError(`${first} and ${second} have to be both strings or both lists of messages`)
}

function labelOf(value: unknown): boolean {
  if (typeof value === 'boolean') return value
  const text = String(value).toLowerCase()
  if (text === 'true' || text === '1') return true
  if (text === 'false' || text === '0') return false
  throw new FormatError(`label is ${preview(value)}, neither true nor false`)
}

type Preference = { prompt: Said; chosen: Said; rejected: Said }

function preference(row: Row): Preference {
  const [chosen, rejected] = [said(row, 'chosen'), said(row, 'rejected')]
  alike('chosen', chosen, 'rejected', rejected)
  const prompt = row.prompt === null || row.prompt === undefined ? undefined : said(row, 'prompt')
  // Some sets repeat the question as text beside whole conversations.
  if (prompt === undefined || (typeof prompt === 'string' && typeof chosen !== 'string'))
    return sharedPrompt(chosen, rejected)
  alike('prompt', prompt, 'chosen', chosen)
  return { prompt, chosen, rejected }
}

/** What both begin with is the prompt, as TRL's `extract_prompt` has it: a space before the difference is not. */
function sharedPrompt(chosen: Said, rejected: Said): Preference {
  const length = Math.min(chosen.length, rejected.length)
  if (length === 0) throw new FormatError('chosen or rejected is empty, and there is no prompt')
  let at = 0
  while (at < length - 1 && isDeepStrictEqual(chosen[at], rejected[at])) at++
  if (typeof chosen === 'string') {
    const differ = chosen[at] !== rejected[at]
    // Not between the halves of a character.
    if (at > 0 && isLowSurrogate(chosen.charCodeAt(at))) at--
    if (at > 0 && differ && chosen[at - 1] === ' ') at--
  } else if (at === 0) throw new FormatError('chosen and rejected begin differently, and there is no prompt')
  return { prompt: chosen.slice(0, at), chosen: chosen.slice(at), rejected: rejected.slice(at) }
}

const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff

const list = (keys: Iterable<string>): string => [...keys].join(', ') || '(none)'

const known = (): string =>
  'which is none of the formats: {text}, {messages}, {prompt, completion}, {prompt, completion, label}, ' +
  '{prompt, chosen, rejected}, {chosen, rejected}, {prompt}'

const typeName = (value: unknown): string =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'a list'
      : typeof value === 'object'
        ? 'an object'
        : `a ${typeof value}`

const preview = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 80)
