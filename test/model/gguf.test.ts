/**
 * Families as GGUF files: what we write of a model that Hugging Face transformers made gives its logits when it is read
 * again, and llama.cpp, where it is installed, goes on with the same tokens.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { convertToGguf, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { type GgufValue, openGguf, readBytes, writeGguf } from '../../src/store/index.ts'
import { installed, llamaCpp } from '../llamaCpp.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-gguf-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

/**
 * Fixtures, and what has to be otherwise in some for llama.cpp, which knows one size of scores for each Gemma, one
 * pattern of windows, and no window in StarCoder2 and Mistral. These change what the model computes.
 */
const cases: [name: string, change?: object][] = [
  ['llama-tiny'],
  ['gpt2-tiny'],
  ['families/qwen2'],
  ['families/qwen3'],
  ['families/gemma'],
  ['families/gemma2', { query_pre_attn_scalar: 16 }],
  ['families/gemma3', { query_pre_attn_scalar: 16, layer_types: new Array(3).fill('sliding_attention') }],
  ['families/phi'],
  ['families/gpt-neox'],
  ['families/gpt-neox-sequential'],
  ['families/olmo'],
  ['families/olmo2'],
  ['families/starcoder2', { sliding_window: null }],
  ['families/mistral', { sliding_window: null }],
  ['families/llama-linear'],
]

/** The folder of a case, and its model as a file. */
function converted(name: string, change?: object): { source: string; file: string } {
  const own = name.split('/').at(-1)!
  const [source, file] = [join(folder, own), join(folder, `${own}.gguf`)]
  if (existsSync(file)) return { source, file }
  cpSync(fixture(name), source, { recursive: true })
  const config = join(source, 'config.json')
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), ...change }))
  convertToGguf(source, file, 'f32')
  return { source, file }
}

/** A copy with a vocabulary, without which llama.cpp in this package opens nothing. */
function nameTokens(file: string, output: string, vocab: number): void {
  const { metadata, tensors } = openGguf(file)
  const typed = Object.entries(metadata).flatMap(([key, value]): [string, GgufValue][] => {
    if (key === 'tokenizer.ggml.model') return []
    if (typeof value === 'string') return [[key, ['string', value]]]
    if (typeof value === 'boolean') return [[key, ['bool', value]]]
    const real = /epsilon|freq_base|factor|softcapping|clamp/.test(key)
    return [[key, [real ? 'f32' : 'u32', value as number]]]
  })
  const ids = Array.from({ length: vocab }, (_, id) => id)
  const words: Record<string, GgufValue> = {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', 'gpt-2'],
    'tokenizer.ggml.tokens': ['string[]', ids.map((id) => (id === 0 ? 'Ċ' : `w${id}`))],
    'tokenizer.ggml.token_type': ['i32[]', ids.map(() => 1)],
    'tokenizer.ggml.merges': ['string[]', ['w 1']],
    'tokenizer.ggml.bos_token_id': ['u32', 0],
    'tokenizer.ggml.eos_token_id': ['u32', 0],
  }
  const sources = [...tensors.values()].map((entry) => ({
    ...{ name: entry.name, type: entry.type, shape: entry.shape },
    data: () => readBytes(entry),
  }))
  writeGguf(output, { ...Object.fromEntries(typed), ...words }, sources)
}

const prompt = [7, 20, 33, 46, 59, 3]

describe.each(cases.map(([name, change]) => ({ name, change })))('$name', ({ name, change }) => {
  it('has the same logits as a GGUF file', async () => {
    const { source, file } = converted(name, change)
    using model = Model.open(file, engine)
    if (change) {
      using original = Model.open(source, engine)
      const expected = await original.run([prompt])
      allClose(
        (await model.run([prompt])).logits!.data as Float32Array,
        expected.logits!.data as Float32Array,
        tolerance.f32,
      )
      return
    }
    const reference = readReference(fixture(name))
    const { data, shape } = reference.get('tokens')!
    const rows = Array.from({ length: shape[0]! }, (_, i) =>
      Array.from(data.slice(i * shape[1]!, (i + 1) * shape[1]!), Number),
    )
    const { logits } = await model.run(rows)
    allClose(logits!.data as Float32Array, reference.get('logits')!.data, tolerance.f32)
  })

  // ggml looks GELU up in a table of f16, so that a near tie may fall otherwise.
  it.skipIf(!installed)('goes on as llama.cpp does', async () => {
    const { file } = converted(name, change)
    using model = Model.open(file, engine)
    const named = `${file}.named.gguf`
    nameTokens(file, named, model.spec.vocab)
    const prompts = [prompt, [5, 9, 22], [61, 2, 14, 40]]
    const theirs = await llamaCpp(named, prompts, 16)
    const ours = await complete(model, prompts, {
      ...{ temperature: 0, maxTokens: 16, stopTokens: [], logprobs: 2 },
    })
    let compared = 0
    for (const [i, { tokens, logprobs }] of ours.entries()) {
      const tie = logprobs!.findIndex(({ top: [first, second] }) => first!.logprob - second!.logprob < 0.002)
      const sure = tie < 0 ? tokens.length : tie
      expect(theirs[i]!.slice(0, sure)).toEqual(tokens.slice(0, sure))
      compared += sure
    }
    expect(compared).toBeGreaterThan(16)
  })
})

it.each([
  ['families/opt', /opt in safetensors cannot become GGUF/],
  ['families/mixtral', /mixtral in safetensors cannot become GGUF/],
  ['families/gemma2', /GGUF's gemma2 cannot say of this model: attention.scale is/],
  ['families/gemma3', /attention.window.layers.1 is false/],
  ['families/starcoder2', /GGUF's starcoder2 cannot say of this model: attention.window.size is 4/],
])('%s, as it is, is refused', (name, message) => {
  const file = join(folder, 'refused.gguf')
  expect(() => convertToGguf(fixture(name), file, 'f32')).toThrow(message)
  expect(existsSync(file)).toBe(false)
})
