/** The real command line in a pseudo terminal, which Python's standard library opens. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { command } from './glossa.ts'

const python = '/usr/bin/python3'
export const hasPython = existsSync(python)

/** Opens a terminal of its own for the command, passes bytes in both directions, and ends as the command does. */
const relay = 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))'

export class PseudoTerminal {
  readonly #child: ChildProcess
  readonly exit: Promise<number | null>
  /** All that has appeared: what was typed is echoed, escapes are among it. */
  output = ''
  #seen = 0
  #ended = false

  constructor(args: readonly string[]) {
    const cwd = fileURLToPath(new URL('../../', import.meta.url))
    const { NO_COLOR: _, ...env } = process.env
    this.#child = spawn(python, ['-c', relay, process.execPath, ...command, ...args], {
      cwd,
      env: { ...env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.output += text
    })
    this.exit = new Promise((resolve) =>
      this.#child.on('close', (code) => {
        this.#ended = true
        resolve(code)
      }),
    )
  }

  type(text: string): void {
    this.#child.stdin!.write(text)
  }

  /** Waits for a text to appear after what was waited for before; gives what came up to its end. */
  async until(text: string | RegExp, seconds = 30): Promise<string> {
    const pattern = typeof text === 'string' ? new RegExp(text.replace(/[^\w\s]/g, '\\$&')) : text
    for (const end = performance.now() + 1000 * seconds; performance.now() < end; await setTimeout(5)) {
      const found = pattern.exec(this.output.slice(this.#seen))
      if (found) {
        const from = this.#seen
        this.#seen += found.index + found[0].length
        return this.output.slice(from, this.#seen)
      }
      if (this.#ended) break
    }
    throw new Error(`${pattern} did not appear in ${JSON.stringify(this.output)}`)
  }

  /** Ends what a failed test has left. */
  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL')
  }
}
