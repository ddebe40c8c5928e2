import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { json, storiesGguf } from './glossa.ts'

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

describe.skipIf(!existsSync(entry) || !storiesGguf)('against llama.cpp', () => {
  it('the same file gives the same 64 tokens', async () => {
    const { getLlama } = (await import(entry)) as LlamaCpp
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      maxThreads: 1,
      logLevel: 'error',
    })
    const model = await llama.loadModel({ modelPath: storiesGguf, gpuLayers: 0 })
    const context = await model.createContext({ contextSize: 128, threads: 1 })
    const prompt = [model.tokens.bos, ...model.tokenize('Once upon a time')]
    const expected: number[] = []
    for await (const token of context.getSequence().evaluate(prompt, { temperature: 0 })) {
      expected.push(token)
      if (expected.length === 64) break
    }
    await llama.dispose()
    expect(expected).toHaveLength(64)

    const ours = await json<{ tokens: number[]; promptTokens: number[] }>(
      ...['generate', '-m', storiesGguf!, '-p', 'Once upon a time', '--temp', '0', '-n', '64'],
    )
    expect(ours.promptTokens).toEqual(prompt)
    expect(ours.tokens).toEqual(expected)
  })
})
