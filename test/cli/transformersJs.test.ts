/** What transformers.js, installed beside the benchmarks, makes of the folders that we export. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { type Completion, complete } from '../../src/decode/index.ts'
import { exportFolder, Model, seal, type WeightFormat } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { json } from './glossa.ts'

const peer = fileURLToPath(
  new URL('../../bench/peers/node_modules/@huggingface/transformers', import.meta.url),
)
const entry = join(peer, 'dist/transformers.node.mjs')

interface Ids {
  readonly data: BigInt64Array
  readonly dims: readonly [number, number]
  tolist(): bigint[][]
}
interface TransformersJs {
  readonly env: { allowRemoteModels: boolean; localModelPath: string; useFSCache: boolean }
  readonly Tensor: new (type: 'int64', data: BigInt64Array, dims: readonly number[]) => Ids
  readonly AutoTokenizer: { from_pretrained(path: string): Promise<(text: string) => { input_ids: Ids }> }
  readonly AutoModelForCausalLM: {
    from_pretrained(
      path: string,
      options: object,
    ): Promise<{ generate(options: object): Promise<Ids>; dispose(): Promise<unknown> }>
  }
}

const folder = mkdtempSync(join(tmpdir(), 'glossa-transformers-js-'))
afterAll(() => rmSync(folder, { recursive: true }))

const long = (rows: readonly (readonly number[])[]): [BigInt64Array, number[]] => [
  BigInt64Array.from(rows.flat(), BigInt),
  [rows.length, rows[0]!.length],
]

/** Greedy continuations of rows of equal length, which may be padded where the mask is 0. */
async function theirs(
  model: string,
  rows: readonly (readonly number[])[],
  mask: readonly (readonly number[])[],
  length: number,
  dtype: string,
): Promise<number[][]> {
  const { env, AutoModelForCausalLM, Tensor } = (await import(entry)) as TransformersJs
  env.allowRemoteModels = false
  env.localModelPath = dirname(model)
  const opened = await AutoModelForCausalLM.from_pretrained(model.slice(dirname(model).length + 1), { dtype })
  const ids = await opened.generate({
    ...{ input_ids: new Tensor('int64', ...long(rows)), attention_mask: new Tensor('int64', ...long(mask)) },
    ...{ max_new_tokens: length, do_sample: false },
  })
  await opened.dispose()
  return ids.tolist().map((row) => row.slice(rows[0]!.length).map(Number))
}

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const open = (model: string, weights: WeightFormat): Model => seal(Model.open(model, engine), { weights })

async function ours(model: Model, row: readonly number[], length: number): Promise<readonly number[]> {
  const [{ tokens }] = (await complete(model, [row], {
    temperature: 0,
    maxTokens: length,
  })) as [Completion]
  return tokens
}

describe.skipIf(!existsSync(entry))('transformers.js opens what we export', () => {
  it.each([
    ['f32', 'fp32', 64],
    ['int8', 'q8', 24],
    ['int4', 'q4', 24],
  ] as const)('the starter in %s goes on as it does here', async (weights, dtype, length) => {
    // All three in one folder.
    const path = join(folder, 'starter')
    await json(
      ...['export', '-m', 'models/starter', '-o', path, '--layout', 'transformers.js', '--weights', weights],
    )
    const { AutoTokenizer } = (await import(entry)) as TransformersJs
    const encode = await AutoTokenizer.from_pretrained(path)
    const prompt = encode('Once upon a time').input_ids.tolist()[0]!.map(Number)
    const model = open('models/starter', weights)
    expect(prompt).toEqual(model.tokenizer!.encode('Once upon a time').ids)
    const [tokens] = await theirs(path, [prompt], [prompt.map(() => 1)], length, dtype)
    expect(tokens).toHaveLength(length)
    expect(await ours(model, prompt, length)).toEqual(tokens)
  })

  // Of each kind of position, norm and attention one.
  const families = ['gpt-neo', 'gpt-neox', 'opt', 'phi', 'qwen3', 'gemma2', 'gemma3', 'mistral', 'olmo2']
  it.each(['gpt2-tiny', ...[...families, 'starcoder2'].map((name) => `families/${name}`)])(
    '%s: two rows, one padded at its beginning',
    async (name) => {
      const path = join(folder, name)
      const model = open(`test/fixtures/${name}`, 'f32')
      exportFolder(model, path, { weights: 'f32' })
      const rows = [
        [3, 17, 42, 5, 60, 11],
        [7, 8, 9],
      ] as const
      const mask = [rows[0].map(() => 1), [0, 0, 0, 1, 1, 1]]
      const tokens = await theirs(path, [rows[0], [0, 0, 0, ...rows[1]]], mask, 8, 'fp32')
      for (const [i, row] of rows.entries()) {
        const end = tokens[i]!.findIndex((token) => model.ends.includes(token))
        const expected = end < 0 ? tokens[i] : tokens[i]!.slice(0, end)
        expect(expected!.length).toBeGreaterThan(1)
        expect(await ours(model, row, 8)).toEqual(expected)
      }
    },
  )
})
