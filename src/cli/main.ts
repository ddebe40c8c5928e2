#!/usr/bin/env node
/** The command line: one file per verb, in one table. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addFlags, readFlags } from './flags.ts'
import { clearStatus, Interrupted, watchStdout } from './terminal.ts'
import { UsageError, type Verb } from './verb.ts'

/** In the order of the help. Opened when they are asked for: each brings its own part of the library. */
const verbs: Readonly<Record<string, () => Promise<{ readonly default: Verb }>>> = {
  generate: () => import('./generate.ts'),
  chat: () => import('./chat.ts'),
  score: () => import('./score.ts'),
  inspect: () => import('./inspect.ts'),
  lens: () => import('./lens.ts'),
  patch: () => import('./patch.ts'),
  attribute: () => import('./attribute.ts'),
  attention: () => import('./attention.ts'),
  layers: () => import('./layers.ts'),
  steer: () => import('./steer.ts'),
  pull: () => import('./pull.ts'),
  convert: () => import('./convert.ts'),
  export: () => import('./export.ts'),
  train: () => import('./train.ts'),
  adapt: () => import('./adapt.ts'),
  tokenizer: () => import('./tokenizer.ts'),
  sae: () => import('./sae.ts'),
  methods: () => import('./methods.ts'),
  reproduce: () => import('./reproduce.ts'),
  studio: () => import('./studio.ts'),
  serve: () => import('./serve.ts'),
  jobs: () => import('./jobs.ts'),
  doctor: () => import('./doctor.ts'),
  bench: () => import('./bench.ts'),
}

/** The verb that the arguments name; all of them for help and for what is no verb. */
async function verbsFor([first = '']: readonly string[]): Promise<Verb[]> {
  if (first === '--version' || first === '-V') return []
  const names = Object.hasOwn(verbs, first) ? [first] : Object.keys(verbs)
  return Promise.all(names.map(async (name) => (await verbs[name]!()).default))
}

const { version, description } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string; description: string }

/** What is wrong, and the way out, in one line. */
function describe(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof CommanderError && error.code === 'commander.excessArguments')
    return 'too many arguments: a text with spaces needs quotes, -p "Once upon a time"'
  return message
    .replace(/^error: /, '')
    .replace(/\n\(Did you mean (.*?)\?\)/, '; did you mean $1?')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
}

function buildProgram(verbs: readonly Verb[], finish: (code: number) => void): Command {
  const program = new Command('glossa')
    .description(description)
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
  for (const verb of verbs) {
    const command = program.command(verb.name).description(verb.summary).copyInheritedSettings(program)
    addFlags(command, verb)
    command.option('--debug', 'Show where an error comes from')
    if (verb.notes) command.addHelpText('after', `\n${verb.notes}`)
    // Commander passes what stands behind the verb first.
    command.action(async (...passed: unknown[]) => {
      const given: Record<string, unknown> = command.opts()
      if (verb.argument) given[verb.argument] = passed[0]
      finish((await verb.run(readFlags(verb, given))) ?? 0)
    })
  }
  return program
}

async function main(args: readonly string[]): Promise<void> {
  watchStdout()
  const program = buildProgram(await verbsFor(args), (code) => {
    process.exitCode = code
  })
  if (args.length === 0) return program.outputHelp()
  try {
    await program.parseAsync([...args], { from: 'user' })
  } catch (error) {
    // Help and version have been shown.
    if (error instanceof CommanderError && error.exitCode === 0) return
    const usage = error instanceof CommanderError || error instanceof UsageError
    const debug = args.includes('--debug') && error instanceof Error && error.stack
    clearStatus()
    process.stderr.write(`glossa: ${debug || describe(error)}\n`)
    process.exitCode = error instanceof Interrupted ? 130 : usage ? 2 : 1
  }
}

await main(process.argv.slice(2))
