import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { fixture, readReference } from '../reference.ts'
import {
  command,
  glossa,
  gpt2Tiny,
  json,
  llamaTiny,
  llamaTiny16,
  storiesBin,
  storiesBin1,
  storiesGguf,
} from './glossa.ts'

interface Token {
  token: number
  piece?: string
  logprob: number
}
interface Generated {
  text: string | null
  tokens: number[]
  finish: string
  promptTokens: number[]
  promptLogprobs?: number[]
  logprobs?: (Token & { top: Token[] })[]
  seed: number
  weights: string
  bytes: number
  timing: Record<'loadMs' | 'firstTokenMs' | 'totalMs' | 'tokensPerSecond', number | null>
}

/** What llama2.c's own test (test_all.py) expects of `run stories260K.bin -t 0.0 -n 200`. */
const golden = `Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she`

/** util-linux: runs a command on a terminal of its own. */
const hasScript = spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux')

describe('glossa generate', () => {
  it.each([gpt2Tiny, llamaTiny, llamaTiny16])(
    '%s: greedy tokens are those of the reference',
    async (model) => {
      const greedy = [...readReference(fixture(model.split('/').at(-1)!)).get('greedy')!.data]
      const prompt = greedy.slice(0, 5)
      const result = await json<Generated>(
        ...['generate', '-m', model, '--tokens', `${prompt}`, '--temp', '0', '-n', '20'],
      )
      expect(result.promptTokens).toEqual(prompt)
      expect(result.tokens).toEqual(greedy.slice(5))
      expect(result).toMatchObject({ text: null, finish: 'length', weights: 'f32' })
    },
  )

  it.skipIf(!storiesGguf)('GGUF and llama2.c files of one model tell the golden story', async () => {
    for (const model of [storiesBin!, storiesBin1!]) {
      const result = await json<Generated>('generate', '-m', model, '-p', '', '--temp', '0', '-n', '200')
      expect(result.text).toBe(golden)
      expect(result.promptTokens).toEqual([1])
    }
    // This file is made for 128 positions, of which the begin token takes one.
    const result = await json<Generated>('generate', '-m', storiesGguf!, '-p', '', '--temp', '0', '-n', '200')
    expect(result.finish).toBe('context')
    expect(result.tokens).toHaveLength(127)
    expect(golden.startsWith(result.text!)).toBe(true)
  })

  it.skipIf(!storiesBin)('shows prompt and text on stdout, one line about the run on stderr', async () => {
    const args = ['generate', '-m', storiesBin!, '-p', 'Once upon a', '--temp', '0', '-n', '9']
    const { stdout, stderr, code } = await glossa(...args)
    // The text goes on within the sentence: with the space before "time".
    expect(stdout).toBe('Once upon a time, there was a little girl\n')
    expect(stderr).toMatch(
      /^9 tokens, [\d.,]+ tokens\/s, first token after [\d.]+ ms, f32 weights of 1\.04 MB\n$/,
    )
    expect(code).toBe(0)
  })

  it.skipIf(!storiesBin)('continues several prompts as it continues each', async () => {
    const prompts = ['Once upon a time', 'The dog', 'Lily and Tom']
    const options = ['--temp', '0', '-n', '20', '--logprobs', '2', '--prompt-logprobs']
    const flags = prompts.flatMap((prompt) => ['-p', prompt])
    const batch = await json<{ completions: Generated[] }>(
      'generate',
      '-m',
      storiesBin!,
      ...flags,
      ...options,
    )
    expect(batch.completions).toHaveLength(3)
    for (const [i, prompt] of prompts.entries()) {
      const alone = await json<Generated>('generate', '-m', storiesBin!, '-p', prompt, ...options)
      const { text, tokens, logprobs, promptTokens, promptLogprobs } = batch.completions[i]!
      expect({ text, tokens, promptTokens }).toEqual({
        text: alone.text,
        tokens: alone.tokens,
        promptTokens: alone.promptTokens,
      })
      expect(promptLogprobs).toHaveLength(promptTokens.length - 1)
      expect(logprobs).toHaveLength(20)
      for (const [step, { token, logprob, top }] of logprobs!.entries()) {
        expect(top).toHaveLength(2)
        // Greedy: the chosen token is the most likely one.
        expect(top[0]).toMatchObject({ token, logprob })
        expect(top[1]!.logprob).toBeLessThanOrEqual(logprob)
        expect(logprob).toBeCloseTo(alone.logprobs![step]!.logprob, 3)
      }
    }
    const { stdout } = await glossa('generate', '-m', storiesBin!, ...flags, '--temp', '0', '-n', '20')
    expect(stdout).toBe(`${batch.completions.map(({ text }, i) => prompts[i]! + text).join('\n\n')}\n`)
  })

  it('repeats itself with the same seed and says which it was', async () => {
    const args = ['generate', '-m', llamaTiny, '--tokens', '3,17,42', '-n', '30', '--temp', '1.5']
    const first = await json<Generated>(...args)
    const again = await json<Generated>(...args, '--seed', `${first.seed}`)
    const other = await json<Generated>(...args, '--seed', `${first.seed + 1}`)
    expect(again.tokens).toEqual(first.tokens)
    expect(other.tokens).not.toEqual(first.tokens)
  })

  it('takes every decoding option', async () => {
    const narrow = ['--top-k', '40', '--top-p', '0.9', '--min-p', '0.01', '--seed', '3', '-n', '12']
    const run = (...more: string[]) =>
      json<Generated>('generate', '-m', llamaTiny, '--tokens', '3,17,42', ...narrow, ...more)
    const plain = await run()
    expect(plain.tokens).toHaveLength(12)
    expect((await run('--repeat-penalty', '30')).tokens).toEqual(
      (await run('--repetition-penalty', '30')).tokens,
    )
    expect((await run('--repeat-penalty', '30')).tokens).not.toEqual(plain.tokens)
    const stopped = await run('--stop-tokens', `99,${plain.tokens[4]}`)
    expect(stopped).toMatchObject({
      finish: 'stop',
      tokens: plain.tokens.slice(0, plain.tokens.indexOf(plain.tokens[4]!)),
    })
    expect((await run('--context', '10')).finish).toBe('context')
  })

  it.skipIf(!storiesBin)('ends before a stop text', async () => {
    const args = ['generate', '-m', storiesBin!, '-p', 'Once upon a time', '--temp', '0']
    const result = await json<Generated>(...args, '--stop', 'zebra', '--stop', ' girl')
    expect(result).toMatchObject({ text: ', there was a little', finish: 'stop' })
  })

  it('keeps to a JSON schema or a grammar', async () => {
    const args = ['generate', '-m', 'models/starter', '-p', 'The cat', '--temp', '1.5', '--seed', '3']
    const schema = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'
    const { text, finish } = await json<Generated>(...args, '--json-schema', schema)
    expect(finish).toBe('stop')
    expect(JSON.parse(text!)).toEqual({ age: expect.any(Number) })
    const folder = mkdtempSync(join(tmpdir(), 'glossa-grammar-'))
    const grammar = join(folder, 'a.gbnf')
    writeFileSync(grammar, 'root ::= " sat" | " ran"')
    expect((await json<Generated>(...args, '--grammar', grammar)).text).toMatch(/^ (sat|ran)$/)
    const wrong = await glossa(...args, '--json-schema', '{"type": "string", "format": "email"}')
    expect(wrong.stderr).toContain("the keyword 'format' is not supported")
  })

  it('writes numbers that JSON has', async () => {
    const one = await json<Generated>('generate', '-m', llamaTiny, '--tokens', '3', '-n', '1')
    expect(one.timing.tokensPerSecond).toBeNull()
    expect(one.timing.firstTokenMs).toBeGreaterThan(0)
    expect(one.bytes).toBeGreaterThan(0)
  })

  it('answers with an encoder-decoder', async () => {
    const reference = readReference(fixture('families/t5'))
    const source = [...reference.get('tokens')!.data.slice(0, 12)]
    const golden = [...reference.get('greedy')!.data]
    const args = [
      'generate',
      '-m',
      'test/fixtures/families/t5',
      '--tokens',
      source.join(),
      '-n',
      `${golden.length}`,
    ]
    const greedy = await json<{ tokens: number[]; promptTokens: number[] }>(
      ...[...args, '--temp', '0', '--stop-tokens', '63'],
    )
    expect(greedy.tokens).toEqual(golden)
    expect(greedy.promptTokens).toEqual(source)
    const drawn = await json<{ tokens: number[] }>(...args, '--temp', '5', '--seed', '1')
    expect(drawn.tokens).not.toEqual(golden)
    expect((await json<{ tokens: number[] }>(...args, '--temp', '5', '--seed', '1')).tokens).toEqual(
      drawn.tokens,
    )
  })

  it('writes escapes to terminals only', async () => {
    const { stdout, stderr } = await glossa(
      'generate',
      '-m',
      llamaTiny,
      '--tokens',
      '3,17',
      '--logprobs',
      '2',
    )
    expect(stdout + stderr).not.toContain('\x1b')
  })

  it.skipIf(!hasScript)('shows the prompt dim on a terminal, and not where NO_COLOR is set', () => {
    const on = (env: Record<string, string>): string => {
      const line = [
        process.execPath,
        ...command,
        'generate',
        '-m',
        llamaTiny,
        '--tokens',
        '3',
        '-n',
        '2',
        '--temp',
        '0',
      ]
      const options = { encoding: 'utf8', env: { ...process.env, TERM: 'xterm', ...env } } as const
      return spawnSync('script', ['-qec', line.join(' '), '/dev/null'], options).stdout
    }
    expect(on({ NO_COLOR: '' })).toContain('\x1b[2m3\x1b[22m 18 84')
    const plain = on({ NO_COLOR: '1' })
    expect(plain).toContain('3 18 84')
    expect(plain).not.toContain('\x1b[2m')
  })
})
