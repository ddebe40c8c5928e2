import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { glossa, json, storiesGguf } from './glossa.ts'

/** Installed by `npm install` in bench/peers only: with its binaries it is a gigabyte. */
const entry = fileURLToPath(
  new URL('../../bench/peers/node_modules/node-llama-cpp/dist/index.js', import.meta.url),
)

/** The part of node-llama-cpp that is used here. */
interface LlamaCpp {
  readonly getLlama: (options: object) => Promise<{
    loadModel(options: object): Promise<{
      tokenize(text: string): number[]
      createContext(options: object): Promise<{
        getSequence(): { evaluate(tokens: number[], options: object): AsyncIterable<number> }
      }>
      readonly tokens: { readonly bos: number }
    }>
    dispose(): Promise<void>
  }>
}

const folder = mkdtempSync(join(tmpdir(), 'glossa-llama-cpp-'))
afterAll(() => rmSync(folder, { recursive: true }))
const text = 'Once upon a time'

/** The ids of the text, and llama.cpp's greedy continuation. */
async function theirs(modelPath: string, length: number): Promise<{ prompt: number[]; tokens: number[] }> {
  const { getLlama } = (await import(entry)) as LlamaCpp
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    maxThreads: 1,
    logLevel: 'error',
  })
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 })
  const context = await model.createContext({ contextSize: 128, threads: 1 })
  const prompt = [model.tokens.bos, ...model.tokenize(text)]
  const tokens: number[] = []
  for await (const token of context.getSequence().evaluate(prompt, { temperature: 0 })) {
    tokens.push(token)
    if (tokens.length === length) break
  }
  await llama.dispose()
  return { prompt, tokens }
}

async function ours(model: string, length: number, weights = 'f32') {
  const { tokens, promptTokens } = await json<{ tokens: number[]; promptTokens: number[] }>(
    ...['generate', '-m', model, '-p', text, '--temp', '0', '-n', `${length}`, '--weights', weights],
  )
  return { prompt: promptTokens, tokens }
}

describe.skipIf(!existsSync(entry))('against llama.cpp', () => {
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
