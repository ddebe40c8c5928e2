/** `glossa chat` as a person has it: on a terminal, with keys. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { hasPython, PseudoTerminal } from './pseudoTerminal.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-terminal-'))
afterAll(() => rmSync(folder, { recursive: true }))
const template = join(folder, 'chat.jinja')
writeFileSync(
  template,
  '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}',
)
const start = (tokens: number): PseudoTerminal =>
  new PseudoTerminal([
    ...['chat', '-m', 'models/starter', '--template', template, '--temp', '0', '-n', `${tokens}`],
    ...['--threads', '1'],
  ])

const [ctrlC, ctrlD, enter, up] = ['\x03', '\x04', '\r', '\x1b[A']
/** The prompt, of which the mark is dimmed. */
const prompt = '\x1b[2m> \x1b[22m'

interface Message {
  readonly role: string
  readonly content: string
}

describe.skipIf(!hasPython)('glossa chat on a terminal', () => {
  it('Ctrl-C stops the answer, and the conversation goes on', async () => {
    const file = join(folder, 'stopped.json')
    using terminal = start(200)
    await terminal.until('/exit leaves')
    await terminal.until(prompt)
    terminal.type(`Tell me a story${enter}`)
    await terminal.until(/story[\r\n]+/)
    await terminal.until(/[a-z]{2,}/i)
    terminal.type(ctrlC)
    await terminal.until('stopped')
    await terminal.until(prompt)

    terminal.type(`/set max-tokens 5${enter}`)
    await terminal.until(prompt)
    terminal.type(`And then?${enter}`)
    await terminal.until('the answer was cut at --max-tokens')
    await terminal.until(prompt)
    terminal.type(`/save ${file}${enter}`)
    await terminal.until(prompt)
    terminal.type(ctrlD)
    expect(await terminal.exit).toBe(0)

    const messages = JSON.parse(readFileSync(file, 'utf8')) as Message[]
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant'])
    const [, { content: stopped }] = messages as [Message, Message]
    expect(terminal.output).toContain(`${stopped.replaceAll('\n', '\r\n')}\r\n`)
    // 200 tokens are several times this.
    expect(stopped.length).toBeLessThan(300)
  }, 60_000)

  it('keys and commands at the prompt', async () => {
    using terminal = start(3)
    await terminal.until(prompt)
    terminal.type(ctrlC)
    await terminal.until('Ctrl-C again, or /exit, to leave')
    await terminal.until(prompt)
    // A line in between begins the count anew.
    terminal.type(`/help${enter}`)
    await terminal.until('/system TEXT')
    await terminal.until(prompt)
    // What was typed is thrown away, without a word.
    terminal.type('half a quest')
    await terminal.until('half a quest')
    terminal.type(ctrlC)
    terminal.type(`/colour${enter}`)
    expect(await terminal.until('there is no command /colour')).not.toContain('to leave')
    await terminal.until(prompt)
    // The line before comes back.
    terminal.type(`${up}${enter}`)
    await terminal.until('there is no command /colour')
    await terminal.until(prompt)
    terminal.type(`/quit${enter}`)
    expect(await terminal.exit).toBe(0)
  }, 60_000)

  it('a second Ctrl-C at the prompt leaves', async () => {
    using terminal = start(3)
    await terminal.until(prompt)
    terminal.type(ctrlC)
    await terminal.until('to leave')
    terminal.type(ctrlC)
    expect(await terminal.exit).toBe(0)
  }, 60_000)
})
