/** `glossa chat`: a conversation on the terminal, line by line from a pipe, or one question. */
import { createInterface } from 'node:readline'
import * as z from 'zod'
import { type GenerateOptions, generateSchema } from '../decode/index.ts'
import { runCommand } from './chat/commands.ts'
import { type Answer, Conversation } from './chat/conversation.ts'
import { readTools } from './chat/tools.ts'
import {
  constrainFlags,
  constrainOptions,
  jsonOption,
  modelFlags,
  modelOptions,
  openModel,
  readConstraint,
  readText,
} from './common.ts'
import { dim, exitCode, hasReader, interruptible, note, print, printable, printJson } from './terminal.ts'
import { UsageError, verb } from './verb.ts'

const { logprobs: _, promptLogprobs: __, ...generateOptions } = generateSchema.shape

const options = z.strictObject({
  ...modelOptions.shape,
  prompt: z.string().optional().describe('One question, without a conversation'),
  system: z.string().optional().describe('What the model is told first'),
  template: z.string().optional().describe("A file with a Jinja chat template, instead of the model's"),
  tools: z.string().optional().describe('A JSON file with definitions of tools that the model may call'),
  ...generateOptions,
  ...constrainOptions.shape,
  maxTokens: z.int().positive().default(512).describe('Most tokens of an answer'),
  json: jsonOption,
})

export default verb({
  name: 'chat',
  summary: 'Talk with a model',
  options,
  flags: {
    ...modelFlags,
    ...constrainFlags,
    prompt: { short: 'p' },
    template: { value: 'FILE' },
    tools: { value: 'FILE' },
    maxTokens: { short: 'n' },
    temperature: { name: 'temp', also: ['temperature'] },
    repetitionPenalty: { also: ['repeat-penalty'] },
  },
  notes: `Each line is a question; /help lists commands. Ctrl-C stops the answer and, at the prompt, given twice, the program.
What no longer fits into the context is forgotten from the oldest turn on; /save keeps it. --tools takes OpenAI's list of
functions; calls are shown and not run, /tool RESULT answers them.`,
  async run({
    model: path,
    weights,
    lora,
    context,
    device,
    threads,
    prompt,
    system,
    template,
    tools: toolsFile,
    json,
    ...rest
  }) {
    const { jsonSchema, grammar, with: methods, ...settings } = rest
    if (json && prompt === undefined) throw new UsageError('--json gives one answer: ask with -p "..."')
    const source = template === undefined ? undefined : readText(template)
    const tools = toolsFile === undefined ? undefined : readTools(toolsFile)
    await using opened = await openModel(
      { model: path, weights, lora, with: methods, context, device, threads },
      { draws: true },
    )
    const { model, rules } = opened
    const conversation = new Conversation(
      model,
      { ...(source !== undefined && { template: source }), ...(tools && { tools }) },
      settings,
      { ...readConstraint(model, { jsonSchema, grammar }), rules },
    )
    conversation.system = system
    await model.prepare()
    if (prompt === undefined) return await talk(conversation)
    return await interruptible(async (signal) => {
      const answer = await conversation.ask({ role: 'user', content: prompt }, signal, json ? () => {} : show)
      if (json) printJson(result(answer, settings))
      else endAnswer(answer)
      return exitCode(signal)
    })
  },
})

const show = (text: string): void => print(printable(text))

function result({ text: _, content, ...answer }: Answer, { seed }: GenerateOptions): object {
  return { message: { role: 'assistant', content }, ...answer, seed }
}

/** What follows an answer: the calls in it as they were understood, and one that was not. */
function endAnswer({ toolCalls = [], toolCallError }: Answer): void {
  print('\n')
  for (const call of toolCalls) show(`call ${call.name} ${JSON.stringify(call.arguments)}\n`)
  if (toolCallError !== undefined) note(`${toolCallError}; what the model wrote stands above`)
}

/** Reads lines to the end of the input, or until the user leaves. */
async function talk(conversation: Conversation): Promise<number> {
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true
  const lines = createInterface({
    input: process.stdin,
    ...(terminal && { output: process.stdout }),
    terminal,
    prompt: dim('> '),
  })
  let answering = false
  let warned = false
  // On a terminal in raw mode Ctrl-C is a key, elsewhere a signal: both become the signal.
  lines.on('SIGINT', () => process.emit('SIGINT'))
  const interrupt = (): void => {
    if (answering) return
    if (terminal && lines.line !== '') {
      // What was typed is thrown away, as in a shell.
      lines.write(null, { ctrl: true, name: 'e' })
      lines.write(null, { ctrl: true, name: 'u' })
      return
    }
    if (warned) {
      lines.close()
      return
    }
    warned = true
    note('\nCtrl-C again, or /exit, to leave')
    if (terminal) lines.prompt()
  }
  process.on('SIGINT', interrupt)
  if (terminal) {
    note('/help lists commands, /exit leaves')
    lines.prompt()
  }
  try {
    for await (const line of lines) {
      warned = false
      answering = true
      const outcome = await take(line, conversation)
      answering = false
      if (outcome === 'exit' || !hasReader()) break
      if (terminal) lines.prompt()
    }
  } finally {
    process.off('SIGINT', interrupt)
    lines.close()
  }
  return 0
}

/** One line: a command or a question. What goes wrong with it does not end the conversation. */
async function take(line: string, conversation: Conversation): Promise<'exit' | undefined> {
  try {
    const outcome = line.startsWith('/') ? runCommand(line, conversation) : undefined
    if (outcome === 'exit') return outcome
    const again = outcome === 'retry' ? conversation.undo() : outcome
    if (outcome === 'retry' && !again) note('there is no question to ask again')
    const question =
      again ?? (line.startsWith('/') || line.trim() === '' ? undefined : { role: 'user', content: line })
    if (question) await ask(question, conversation)
  } catch (error) {
    note((error as Error).message)
  }
  return undefined
}

async function ask(question: { role: string }, conversation: Conversation): Promise<void> {
  const before = conversation.forgotten
  const answer = await interruptible((signal) => conversation.ask(question, signal, show))
  endAnswer(answer)
  const { finish } = answer
  if (finish === 'aborted') note('stopped')
  if (finish === 'length') note('the answer was cut at --max-tokens; /set max-tokens N allows more')
  if (finish === 'context') note("the model's context is full")
  if (conversation.forgotten > before)
    note(`the context is full: the oldest ${conversation.forgotten} messages are forgotten; /save keeps them`)
}
