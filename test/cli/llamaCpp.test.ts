import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { installed, llamaCpp } from '../llamaCpp.ts'
import { glossa, json, storiesGguf } from './glossa.ts'

const folder = mkdtempSync(join(tmpdir(), 'glossa-llama-cpp-'))
afterAll(() => rmSync(folder, { recursive: true }))
const text = 'Once upon a time'

/** The ids of the text, and llama.cpp's greedy continuation. */
async function theirs(file: string, length: number): Promise<{ prompt: number[]; tokens: number[] }> {
  let prompt: number[] = []
  const [tokens] = await llamaCpp(
    file,
    (model) => {
      prompt = [model.tokens.bos, ...model.tokenize(text)]
      return [prompt]
    },
    length,
  )
  return { prompt, tokens: tokens! }
}

async function ours(model: string, length: number, weights = 'f32') {
  const { tokens, promptTokens } = await json<{ tokens: number[]; promptTokens: number[] }>(
    ...['generate', '-m', model, '-p', text, '--temp', '0', '-n', `${length}`, '--weights', weights],
  )
  return { prompt: promptTokens, tokens }
}

describe.skipIf(!installed)('against llama.cpp', () => {
  it.skipIf(!storiesGguf)('the same file gives the same 64 tokens', async () => {
    const expected = await theirs(storiesGguf!, 64)
    expect(expected.tokens).toHaveLength(64)
    expect(await ours(storiesGguf!, 64)).toEqual(expected)
  })

  // Rounded models round activations too, each in its own way, so that sooner or later a near tie falls otherwise.
  it.each([
    ['f32', 'f32', 64],
    ['q8_0', 'stored', 24],
    ['q4_0', 'stored', 24],
  ])('it opens what we convert to %s, and goes on alike', async (type, weights, length) => {
    const file = join(folder, `${type}.gguf`)
    expect((await glossa('convert', '-m', 'models/starter', '-o', file, '--type', type)).code).toBe(0)
    const expected = await theirs(file, length)
    expect(expected.tokens).toHaveLength(length)
    expect(await ours(file, length, weights)).toEqual(expected)
  })
})
