/** What a line that begins with a slash does: one entry a command. */
import { readFileSync, writeFileSync } from 'node:fs'
import * as z from 'zod'
import { type GenerateOptions, generateSchema, parseOptions } from '../../decode/index.ts'
import type { ChatMessage } from '../../text/index.ts'
import { note } from '../terminal.ts'
import type { Conversation } from './conversation.ts'

/** What happens after a command: the program ends, a question is asked again, or a message is answered. */
export type Outcome = 'exit' | 'retry' | ChatMessage | undefined

interface Command {
  readonly argument?: string
  readonly help: string
  run(conversation: Conversation, argument: string): Outcome
}

const messagesSchema = z.array(
  z.looseObject({
    role: z.string(),
    content: z.union([z.string(), z.array(z.looseObject({})), z.null()]).optional(),
  }),
)

/** Names of options that the command line knows too. */
const aliases: Readonly<Record<string, string>> = { temp: 'temperature', repeatPenalty: 'repetitionPenalty' }

const commands: Readonly<Record<string, Command>> = {
  help: {
    help: 'this list',
    run: () => {
      for (const [name, { argument, help }] of Object.entries(commands))
        note(`${`/${name}${argument ? ` ${argument}` : ''}`.padEnd(20)} ${help}`)
      return undefined
    },
  },
  system: {
    argument: 'TEXT',
    help: 'what the model is told first; without a text, nothing',
    run: (conversation, text) => {
      conversation.system = text || undefined
      return undefined
    },
  },
  reset: {
    help: 'forget the conversation, but not the system text',
    run: (conversation) => {
      const { system } = conversation
      conversation.messages = []
      conversation.system = system
      return undefined
    },
  },
  undo: {
    help: 'take back the last question and its answer',
    run: (conversation) => {
      if (!conversation.undo()) note('there is nothing to take back')
      return undefined
    },
  },
  retry: { help: 'ask the last question again', run: () => 'retry' },
  tool: {
    argument: 'RESULT',
    help: 'what the tool gave that the model has called; after the last result it goes on',
    run: (conversation, result) => conversation.giveResult(result),
  },
  save: {
    argument: 'FILE',
    help: 'write the messages as JSON',
    run: (conversation, file) => {
      writeFileSync(required(file), `${JSON.stringify(conversation.messages, null, 2)}\n`)
      return undefined
    },
  },
  load: {
    argument: 'FILE',
    help: 'go on from messages in JSON',
    run: (conversation, file) => {
      conversation.messages = readMessages(required(file))
      return undefined
    },
  },
  set: {
    argument: 'OPTION VALUE',
    help: 'change an option of generation; without one, show them',
    run: (conversation, argument) => {
      if (argument === '') showSettings(conversation.settings)
      else conversation.settings = changed(conversation.settings, argument)
      return undefined
    },
  },
  exit: { help: 'leave (so does the end of the input)', run: () => 'exit' },
  quit: { help: 'leave', run: () => 'exit' },
}

/** Runs a line that begins with a slash; throws an error that says what is wrong with it. */
export function runCommand(line: string, conversation: Conversation): Outcome {
  const [, name = '', argument = ''] = /^\/(\S*)\s*(.*)$/s.exec(line) ?? []
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) throw new Error(`there is no command /${name}; /help lists them`)
  if (argument !== '' && !command.argument) throw new Error(`/${name} takes nothing after it`)
  return command.run(conversation, argument.trim())
}

/** The messages in a file: a list of objects with a role. */
export function readMessages(file: string): z.output<typeof messagesSchema> {
  const result = messagesSchema.safeParse(JSON.parse(readFileSync(file, 'utf8')))
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new Error(`${file}: not a list of messages: ${issue!.path.join('.')}: ${issue!.message}`)
}

function required(file: string): string {
  if (file === '') throw new Error('the name of a file is missing')
  return file
}

function showSettings(settings: GenerateOptions): void {
  for (const [key, value] of Object.entries(parseOptions(settings)))
    if (value !== undefined) note(`${key} ${JSON.stringify(value)}`)
}

/** Settings with one option changed: `temperature 0`, `top-k 40`, `stop ["END"]`; `none` removes it. */
function changed(settings: GenerateOptions, argument: string): GenerateOptions {
  const [, given = '', text = ''] = /^(\S+)\s*(.*)$/s.exec(argument) ?? []
  const camel = given.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
  const key = aliases[camel] ?? camel
  if (text === '') throw new Error(`/set ${given}: a value is missing`)
  if (!Object.hasOwn(generateSchema.shape, key)) parseOptions({ [key]: text } as GenerateOptions)
  const { [key]: _, ...others } = settings as Record<string, unknown>
  const next = text === 'none' ? others : { ...others, [key]: readValue(text) }
  parseOptions(next)
  return next
}

function readValue(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
