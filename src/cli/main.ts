#!/usr/bin/env node
/** The command line: one file per verb, registered in one list. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import adapt from './adapt.ts'
import bench from './bench.ts'
import chat from './chat.ts'
import convert from './convert.ts'
import doctor from './doctor.ts'
import exportModel from './export.ts'
import { addFlags, readFlags } from './flags.ts'
import generate from './generate.ts'
import inspect from './inspect.ts'
import jobs from './jobs.ts'
import lens from './lens.ts'
import methods from './methods.ts'
import patch from './patch.ts'
import pull from './pull.ts'
import reproduce from './reproduce.ts'
import sae from './sae.ts'
import score from './score.ts'
import serve from './serve.ts'
import steer from './steer.ts'
import studio from './studio.ts'
import { clearStatus, Interrupted, watchStdout } from './terminal.ts'
import tokenizer from './tokenizer.ts'
import train from './train.ts'
import { UsageError, type Verb } from './verb.ts'

const verbs: readonly Verb[] = [
  generate,
  chat,
  score,
  inspect,
  lens,
  patch,
  steer,
  pull,
  convert,
  exportModel,
  train,
  adapt,
  tokenizer,
  sae,
  methods,
  reproduce,
  studio,
  serve,
  jobs,
  doctor,
  bench,
]

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

function buildProgram(finish: (code: number) => void): Command {
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
  const program = buildProgram((code) => {
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
