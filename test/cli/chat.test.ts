import { once } from 'node:events'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { finish, glossa, json, start } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-chat-'))
const template = join(folder, 'chat.jinja')
writeFileSync(
  template,
  '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}',
)
const base = ['chat', '-m', 'models/starter', '--template', template, '--temp', '0', '-n', '12']
const chat = (lines: readonly string[], ...more: string[]) =>
  finish(start([...base, ...more]), lines.map((line) => `${line}\n`).join(''))
const saved = (name: string) =>
  JSON.parse(readFileSync(join(folder, name), 'utf8')) as { role: string; content: string }[]

describe('glossa chat', () => {
  it('refuses a model that has no chat template, and says what to do', async () => {
    const { stderr, code } = await glossa('chat', '-m', 'models/starter', '-p', 'Hello')
    expect(stderr).toMatch(/no chat template.*--template FILE/)
    expect(code).toBe(1)
  })

  it('answers once with -p, as text and as JSON', async () => {
    const {
      message,
      tokens,
      finish: reason,
    } = await json<{
      message: { role: string; content: string }
      tokens: number[]
      finish: string
    }>(...base, '-p', 'Tell me a story', '--system', 'Be brief')
    expect(message.role).toBe('assistant')
    expect(tokens.length).toBeLessThanOrEqual(12)
    expect(['length', 'stop']).toContain(reason)
    const { stdout } = await glossa(...base, '-p', 'Tell me a story', '--system', 'Be brief')
    expect(stdout).toBe(`${message.content}\n`)
  })

  it('holds a conversation line by line', async () => {
    const file = (name: string) => join(folder, name)
    const { stdout, stderr, code } = await chat([
      ...['/system Be kind', 'Hello', 'And then?', `/save ${file('two')}`, '/undo', `/save ${file('one')}`],
      ...['/retry', `/save ${file('again')}`, '/reset', `/save ${file('none')}`, `/load ${file('two')}`],
      ...[
        '/set temp 0.5',
        '/set',
        '/nonsense',
        '/set colour red',
        '/set top-k x',
        '/undo now',
        '/exit',
        'unread',
      ],
    ])
    expect(code).toBe(0)
    const two = saved('two')
    expect(two.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant'])
    expect(saved('one')).toEqual(two.slice(0, 3))
    expect(saved('again')).toEqual(two.slice(0, 3))
    expect(saved('none')).toEqual([{ role: 'system', content: 'Be kind' }])
    expect(stdout).toBe([two[2], two[4], two[2]].map((message) => `${message!.content}\n`).join(''))
    for (const part of [
      'temperature 0.5',
      'no command /nonsense',
      "no option 'colour'",
      'topK',
      '/undo takes nothing',
    ])
      expect(stderr).toContain(part)
  })

  it('forgets the oldest turns when the context is full', async () => {
    const lines = Array.from({ length: 12 }, (_, i) => `This is question number ${i} about a dog and a cat`)
    const { stderr, code } = await chat(lines)
    expect(code).toBe(0)
    expect(stderr).toContain('the oldest 2 messages are forgotten')
    const long = await chat(['word '.repeat(400), '/exit'])
    expect(long.stderr).toMatch(/the message is too long: \d+ tokens/)
  })

  it('Ctrl-C stops the answer and not the program', async () => {
    const child = start([...base.slice(0, -1), '200'])
    const result = finish(child, 'Tell me\n/set max-tokens 3\nMore\n')
    await once(child.stdout!, 'data')
    child.kill('SIGINT')
    const { code, stderr } = await result
    expect(code).toBe(0)
    expect(stderr).toContain('stopped')
  })
})
