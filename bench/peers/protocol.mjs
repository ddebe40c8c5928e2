// What every peer shares: flags, the "not installed" answer, and JSON lines on stdin and stdout.

import readline from 'node:readline'
import { parseArgs } from 'node:util'

// Only replies may reach stdout; whatever a library prints goes to stderr.
const writeOut = process.stdout.write.bind(process.stdout)
process.stdout.write = process.stderr.write.bind(process.stderr)

export function reply(value) {
  writeOut(`${JSON.stringify(value)}\n`)
}

/** Answers with an error and leaves: 1 it could not start, 2 wrong flags, 3 not installed. */
export function fail(message, code) {
  reply({ error: message })
  process.exit(code)
}

/** `defaults` gives each flag's name and type: a number, a string, or '' for a string that must be given. */
export function flags(defaults) {
  let values
  try {
    const options = Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' }]))
    values = parseArgs({ options }).values
    for (const [name, standard] of Object.entries(defaults)) {
      if (typeof standard === 'number') {
        values[name] = count(values[name] ?? standard, `--${name}`)
      } else {
        values[name] ??= standard
        if (values[name] === '') throw new Error(`--${name} is missing`)
      }
    }
  } catch (error) {
    fail(error.message, 2)
  }
  return values
}

/** A whole number of at least `least`, or an error that names the field. */
export function count(value, name, least = 1) {
  const number = typeof value === 'string' ? Number(value) : value
  if (!Number.isSafeInteger(number) || number < least) {
    throw new Error(`${name} must be a whole number of at least ${least}, not ${JSON.stringify(value)}`)
  }
  return number
}

/** Runs an `import` or `require` of a package; a missing package ends the process with code 3. */
export async function installed(load) {
  try {
    return await load()
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND' && error.code !== 'MODULE_NOT_FOUND') throw error
    console.error(error.message)
    return fail('not installed: run npm install in bench/peers', 3)
  }
}

/**
 * Loads the peer, then answers one command after another until `exit` or the end of stdin. `open` returns the
 * table of commands; each takes the whole command object and returns the reply.
 */
export async function serve(open) {
  let commands
  try {
    commands = await open()
  } catch (error) {
    console.error(error)
    fail(`could not start: ${error.message}`, 1)
  }
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line.trim() === '') continue
    try {
      const command = JSON.parse(line)
      if (command?.cmd === 'exit') {
        reply({ exit: true })
        break
      }
      if (!Object.hasOwn(commands, command?.cmd)) {
        throw new Error(`unknown cmd ${JSON.stringify(command?.cmd)}; known: ${Object.keys(commands)}, exit`)
      }
      reply(await commands[command.cmd](command))
    } catch (error) {
      console.error(error)
      reply({ error: error.message })
    }
  }
  process.exit(0)
}
