/** llama.cpp, which is installed by `npm install` in bench/peers only: with its binaries it is a gigabyte. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(
  new URL('../bench/peers/node_modules/node-llama-cpp/dist/index.js', import.meta.url),
)
export const installed = existsSync(entry)

/** The part of node-llama-cpp that is used here. */
interface LlamaCpp {
  readonly getLlama: (options: object) => Promise<{
    loadModel(options: object): Promise<LlamaModel>
    dispose(): Promise<void>
  }>
}
interface LlamaModel {
  tokenize(text: string): number[]
  createContext(options: object): Promise<{
    getSequence(): { evaluate(tokens: readonly number[], options: object): AsyncIterable<number> }
  }>
  readonly tokens: { readonly bos: number }
}

/** llama.cpp's greedy continuations of prompts, which may be made with its tokenizer. */
export async function llamaCpp(
  modelPath: string,
  prompts: readonly (readonly number[])[] | ((model: LlamaModel) => readonly (readonly number[])[]),
  length: number,
): Promise<number[][]> {
  const { getLlama } = (await import(entry)) as LlamaCpp
  const llama = await getLlama({
    ...{ gpu: false, build: 'never', skipDownload: true, maxThreads: 1, logLevel: 'error' },
  })
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 })
  const rows: number[][] = []
  for (const prompt of typeof prompts === 'function' ? prompts(model) : prompts) {
    const context = await model.createContext({ contextSize: 128, threads: 1 })
    const tokens: number[] = []
    const options = { temperature: 0, yieldEogToken: true }
    for await (const token of context.getSequence().evaluate([...prompt], options)) {
      tokens.push(token)
      if (tokens.length === length) break
    }
    rows.push(tokens)
  }
  await llama.dispose()
  return rows
}
