/**
 * Families as GGUF files: what we write of a model that Hugging Face transformers made gives its logits when it is read
 * again, and llama.cpp, where it is installed, goes on with the same tokens.
 */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { complete } from '../../src/decode/index.ts'
import { architectures } from '../../src/model/families/ggufArchitectures.ts'
import { configurations } from '../../src/model/families/ggufConfigurations.ts'
import { convertToGguf, convertToHuggingFace, load, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import {
  type GgufValue,
  openCheckpoint,
  openGguf,
  readBytes,
  readFloats,
  writeGguf,
  writeSafetensors,
} from '../../src/store/index.ts'
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

/** A copy with other metadata, and without some tensors. */
function rewritten(
  file: string,
  output: string,
  change: Record<string, GgufValue>,
  keep: (name: string) => boolean = () => true,
): void {
  const { metadata, tensors } = openGguf(file)
  const typed = Object.entries(metadata).flatMap(([key, value]): [string, GgufValue][] => {
    if (key === 'tokenizer.ggml.model') return []
    if (typeof value === 'string') return [[key, ['string', value]]]
    if (typeof value === 'boolean') return [[key, ['bool', value]]]
    const real = /epsilon|freq_base|factor|softcapping|clamp/.test(key)
    return [[key, [real ? 'f32' : 'u32', value as number]]]
  })
  const sources = [...tensors.values()]
    .filter(({ name }) => keep(name))
    .map((entry) => ({
      ...{ name: entry.name, type: entry.type, shape: entry.shape },
      data: () => readBytes(entry),
    }))
  writeGguf(output, { ...Object.fromEntries(typed), ...change }, sources)
}

/** A copy with a vocabulary, without which llama.cpp in this package opens nothing. */
function nameTokens(file: string, output: string, vocab: number): void {
  const ids = Array.from({ length: vocab }, (_, id) => id)
  rewritten(file, output, {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', 'gpt-2'],
    'tokenizer.ggml.tokens': ['string[]', ids.map((id) => (id === 0 ? 'Ċ' : `w${id}`))],
    'tokenizer.ggml.token_type': ['i32[]', ids.map(() => 1)],
    'tokenizer.ggml.merges': ['string[]', ['w 1']],
    'tokenizer.ggml.bos_token_id': ['u32', 0],
    'tokenizer.ggml.eos_token_id': ['u32', 0],
  })
}

let made = 0
/** A specification with its numbers as f32, in which GGUF has them, and without what is undefined. */
const numbersOf = (spec: object): unknown =>
  JSON.parse(
    JSON.stringify(spec, (_, value: unknown) => (typeof value === 'number' ? Math.fround(value) : value)),
  )

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

  it('comes back as a folder with the same tensors and logits', async () => {
    const { source, file } = converted(name, change)
    const [back, again] = [join(folder, `back-${made++}`), join(folder, `again-${made++}.gguf`)]
    convertToHuggingFace(file, back)
    const [before, after] = [openCheckpoint(source).tensors, openCheckpoint(back).tensors]
    // The first GPT-2 had no prefix before its names.
    const named = (key: string): string => (after.has(key) ? key : `transformer.${key}`)
    expect([...after.keys()].sort()).toEqual([...before.keys()].map(named).sort())
    for (const [key, entry] of before) {
      const other = after.get(named(key))!
      expect(other.shape, key).toEqual(entry.shape)
      // In GGUF 1 is added to Gemma's norms, which rounds them: to half a unit of the sum.
      if (name.includes('gemma') && entry.shape.length === 1)
        allClose(readFloats(other), readFloats(entry), { atol: 2 ** -24, rtol: 0 })
      else expect(readFloats(other), key).toEqual(readFloats(entry))
    }
    // What transformers writes of a Mistral without a window is a Llama.
    const own = load(source)
    expect(load(back).family).toBe(own.family === 'mistral' ? 'llama' : own.family)
    expect(numbersOf(load(back).spec)).toEqual(numbersOf(own.spec))
    using model = Model.open(back, engine)
    using original = Model.open(source, engine)
    const expected = (await original.run([prompt])).logits!.data as Float32Array
    const logits = (await model.run([prompt])).logits!.data as Float32Array
    if (name.includes('gemma')) allClose(logits, expected, tolerance.f32)
    else expect(logits).toEqual(expected)
    // And once more, to the last bit.
    convertToGguf(back, again, 'f32')
    for (const [key, entry] of openGguf(file).tensors)
      expect(readBytes(openGguf(again).tensors.get(key)!), key).toEqual(readBytes(entry))
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

it.each<[string, Record<string, GgufValue>, RegExp, RegExp]>([
  // Names of what transformers would make up, or compute otherwise.
  ['families/qwen2', {}, /attn_[qkv]\.bias/, /qwen2 needs a tensor 'model.layers.0.self_attn.q_proj.bias'/],
  [
    'families/olmo',
    { 'olmo.attention.layer_norm_epsilon': ['f32', 1e-6] },
    /^$/,
    /a configuration of olmo cannot say of this model: norm.epsilon is/,
  ],
  [
    'families/starcoder2',
    { 'starcoder2.rope.dimension_count': ['u32', 2] },
    /^$/,
    /a configuration of starcoder2 cannot say of this model: position.size is 2/,
  ],
])('a file that is no %s of transformers does not become a folder', (name, metadata, without, message) => {
  const { file } = converted(name, cases.find(([own]) => own === name)![1])
  const [other, back] = [join(folder, `other-${made++}.gguf`), join(folder, `refused-${made++}`)]
  const none = { 'tokenizer.ggml.model': ['string', 'none'] } as const
  rewritten(file, other, { ...none, ...metadata }, (tensor) => !without.test(tensor))
  expect(() => convertToHuggingFace(other, back)).toThrow(message)
  expect(existsSync(back)).toBe(false)
})

it('every architecture that is read has a configuration', () => {
  expect(Object.keys(configurations).sort()).toEqual(architectures.map(({ id }) => id).sort())
  for (const { id, from } of architectures) expect(from).toContain(configurations[id]!.type)
})

it('takes the tokenizer along in another family than Llama', () => {
  const starter = new URL('../../models/starter', import.meta.url).pathname
  const [source, file] = [join(folder, 'words'), join(folder, 'words.gguf')]
  cpSync(fixture('families/qwen3'), source, { recursive: true })
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(starter, name), join(source, name))
  const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'))
  writeFileSync(join(source, 'config.json'), JSON.stringify({ ...config, vocab_size: 1024 }))
  const tensors = [...openCheckpoint(source).tensors.values()].map((entry) => {
    // Rows for a larger vocabulary.
    const shape = /embed_tokens|lm_head/.test(entry.name) ? [1024, entry.shape[1]!] : entry.shape
    const data = new Float32Array(shape.reduce((x, y) => x * y))
    data.set(readFloats(entry))
    return { name: entry.name, dtype: 'f32' as const, shape, data }
  })
  writeSafetensors(join(source, 'model.safetensors'), tensors)
  convertToGguf(source, file, 'f32')
  const back = join(folder, 'words-back')
  convertToHuggingFace(file, back)
  const text = 'Once upon a time, 12 cats <|endoftext|> said "Hé!"\n\n'
  const [own, expected] = [load(back).tokenizer!, load(source).tokenizer!]
  expect(own.encode(text)).toEqual(expected.encode(text))
  expect([own.bos, own.eos]).toEqual([expected.bos, expected.eos])
})
