/** The page of the tests in Chromium: fetches models and runs them. */
import {
  Encoder,
  Engine,
  hasWebGpu,
  loadEncoderFiles,
  loadFiles,
  loadSeq2SeqFiles,
  Model,
  type ModelFiles,
  Seq2Seq,
  type Tensor,
  tensor,
  webRuntime,
} from '../../src/web.ts'
import { type ScenarioOptions, scenario } from './scenario.ts'

type Provider = 'wasm' | 'webgpu'

async function fetchFiles(folder: string, names: readonly string[]): Promise<ModelFiles> {
  const fetched = names.map(async (name): Promise<[string, Uint8Array]> => {
    const response = await fetch(`/${folder}/${name}`)
    if (!response.ok) throw new Error(`${folder}/${name}: status ${response.status}`)
    return [name, new Uint8Array(await response.arrayBuffer())]
  })
  return Object.fromEntries(await Promise.all(fetched)) as never
}

const open = async (provider: Provider, threads: number): Promise<Engine> =>
  new Engine(await webRuntime({ provider, threads, assets: '/ort/' }))

const weights = ['config.json', 'model.safetensors']

/** Rows of tokens, of a mask, of targets. */
type Rows = readonly (readonly number[])[]
const ints = (rows: Rows) => tensor(Int32Array.from(rows.flat()), [rows.length, rows[0]!.length])

export interface Family {
  readonly name: string
  readonly tokens: Rows
  /** Of an encoder or an encoder-decoder. */
  readonly mask?: Rows
  /** Of an encoder-decoder. */
  readonly targets?: Rows
}

/** The logits of a tiny checkpoint; of an encoder the last hidden state. */
async function outputOf(engine: Engine, { name, tokens, mask, targets }: Family) {
  const files = await fetchFiles(`test/fixtures/families/${name}`, weights)
  if (targets && mask) {
    using model = new Seq2Seq({ engine, ...loadSeq2SeqFiles(files) })
    return (await model.run(ints(tokens), ints(targets), { mask: ints(mask) })).logits!
  }
  if (mask) {
    using model = new Encoder({ engine, ...loadEncoderFiles(files) })
    return (await model.run(ints(tokens), { mask: ints(mask) })).last_hidden_state!
  }
  using model = new Model({ engine, ...loadFiles(files) })
  return (await model.run(ints(tokens))).logits!
}

Object.assign(globalThis, {
  hasWebGpu,
  /** The starter model. */
  async run(provider: Provider, threads: number, options: ScenarioOptions) {
    const tokenizer = ['tokenizer.json', 'tokenizer_config.json']
    const parts = loadFiles(await fetchFiles('models/starter', [...weights, ...tokenizer]))
    await using engine = await open(provider, threads)
    return await scenario(engine, parts, options)
  },
  /** Reads a result from the device after its program has been disposed of: too early, and in time. */
  async readLate() {
    await using engine = await open('webgpu', 1)
    const f = engine.jit((x: Tensor) => x.add(1))
    const y = await f(tensor(new Float32Array(4096), [64, 64]))
    let early = ''
    try {
      y.data
    } catch (error) {
      early = (error as Error).message
    }
    f.dispose()
    const data = await y.load()
    return { early, values: [data[0], data[4095]] }
  },
  /** What tiny checkpoints compute, or why they do not. */
  async families(
    provider: Provider,
    families: readonly Family[],
  ): Promise<Record<string, number[] | string>> {
    await using engine = await open(provider, 1)
    const outcome: Record<string, number[] | string> = {}
    for (const family of families)
      try {
        outcome[family.name] = Array.from((await (await outputOf(engine, family)).load()) as Float32Array)
      } catch (error) {
        outcome[family.name] = (error as Error).message
      }
    return outcome
  },
})
