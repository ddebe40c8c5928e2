import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { finish, start, storiesBin } from './glossa.ts'

/** Hours of work, one row after another. */
const prompts = Array.from({ length: 400 }, (_, i) => ['-p', `Once upon a time number ${i}`]).flat()
const endless = ['generate', '-m', storiesBin ?? '', ...prompts, '-n', '500', '--temp', '0']

describe.skipIf(!storiesBin)('interruption', () => {
  it('Ctrl-C ends the text and keeps what there is', async () => {
    const child = start(endless)
    const result = finish(child)
    await once(child.stdout!, 'data')
    child.kill('SIGINT')
    const { stdout, stderr, code } = await result
    expect(code).toBe(130)
    expect(stdout).toMatch(/^Once upon a time number 0.*\n$/s)
    expect(stderr).toMatch(/^\d+ tokens.*, stopped\n$/)
  })

  it('with --json what there is is still JSON', async () => {
    // Nothing tells from outside when generation begins; before, Ctrl-C ends the process at once.
    for (const wait of [1500, 4000, 10000, 20000]) {
      const child = start([...endless, '--json'])
      const result = finish(child)
      await setTimeout(wait)
      child.kill('SIGINT')
      const { stdout, stderr, code } = await result
      if (code === 'SIGINT') continue
      expect({ code, stderr }).toEqual({ code: 130, stderr: '' })
      const { completions } = JSON.parse(stdout) as { completions: { finish: string; text: string }[] }
      expect(completions).toHaveLength(400)
      expect(completions[0]!.finish).toBe('aborted')
      return
    }
    throw new Error('generation never began')
  })

  it('a reader that goes away ends it without a word', async () => {
    const child = start(endless)
    const errors: Buffer[] = []
    child.stderr!.on('data', (data: Buffer) => errors.push(data))
    await once(child.stdout!, 'data')
    child.stdout!.destroy()
    const [code] = await once(child, 'close')
    expect({ code, stderr: `${Buffer.concat(errors)}` }).toEqual({ code: 0, stderr: '' })
  })
})
