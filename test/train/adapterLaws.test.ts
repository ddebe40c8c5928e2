/** What holds of every adapter, on every family: identities, sums written out in loops, and refusals. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { mapTree, random, type Tensor, tensor } from '../../src/array/index.ts'
import { complete, scoreStepwise } from '../../src/decode/index.ts'
import { attach, exportModel, Model, mergeAdapters, modulesOf, seal } from '../../src/model/index.ts'
import type { DecoderParams, Linear } from '../../src/model/spec.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { readAdapter, writeAdapter } from '../../src/train/adapters/peft.ts'
import {
  type Adapter,
  type AdapterBase,
  ia3,
  lora,
  prefixTuning,
  promptTuning,
  withStrength,
} from '../../src/train/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const scratch = mkdtempSync(join(tmpdir(), 'glossa-laws-'))
afterAll(async () => {
  rmSync(scratch, { recursive: true })
  await engine.dispose()
})

const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
const rows = [
  [3, 9, 4, 1, 22, 7, 7, 12],
  [5, 2, 31, 40, 8, 3, 50, 6],
]
/** The adapter after some training: every number moved by noise. */
function moved(adapter: Adapter, seed: number, size = 0.1): Adapter {
  const gaussian = random.gaussian(seed)
  const params = mapTree(adapter.params, (leaf) =>
    tensor(
      Float32Array.from(floats(leaf), (value) => value + size * gaussian()),
      leaf.sizes,
    ),
  ) as Adapter['params']
  return { ...adapter, params }
}
const logitsOf = async (model: Model): Promise<Float32Array> => floats((await model.run(rows)).logits)
const distance = (a: Float32Array, b: Float32Array): number =>
  Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length)

const families = readdirSync(fixture('families')).filter((name) => {
  const reference = readReference(fixture(`families/${name}`))
  return reference.has('greedy') && !reference.has('targets')
})

describe.each(families)('%s', (name) => {
  const model = Model.open(fixture(`families/${name}`), engine)
  const everything = { targets: 'all-linear', rank: 2 }
  const attends = model.spec.attention !== undefined

  it('is what it was under a new adapter, bit for bit', async () => {
    const before = await logitsOf(model)
    if (!attends) expect(() => ia3(model)).toThrow('choose nothing of this model')
    for (const adapter of [lora(model, everything), ...(attends ? [ia3(model)] : [])])
      expect(await logitsOf(model.adapted([adapter]))).toEqual(before)
    // Magnitude over norm is 1 up to rounding.
    const dora = model.adapted([lora(model, { ...everything, dora: true })])
    allClose(await logitsOf(dora), before, { ...tolerance.f32, name: 'logits' })
  })

  it('computes the same running and merged, alone and stacked', async () => {
    const plain = moved(lora(model, everything), 1)
    const dora = moved(lora(model, { ...everything, dora: true, seed: 1 }), 2)
    // What IA3 scales is keys, values and feed-forward parts; elsewhere another update stands in.
    const scaled = attends ? moved(ia3(model), 3, 0.2) : moved(lora(model, { ...everything, seed: 2 }), 3)
    const before = await logitsOf(model)
    for (const stack of [[plain], [scaled, plain, dora]]) {
      const running = model.adapted(stack)
      const expected = await logitsOf(running)
      expect(distance(expected, before)).toBeGreaterThan(1e-3)
      allClose(await logitsOf(await running.merged()), expected, { ...tolerance.f32, name: 'logits' })
    }
  })

  it('takes real tokens as a prefix, in every path', async () => {
    const [given, rest] = [
      [3, 9, 4, 1],
      [22, 7, 7, 12, 5],
    ]
    if (!attends) {
      await expect(prefixTuning(model, { tokens: given })).rejects.toThrow('has no attention')
      return
    }
    const expected = await model.score([[...given, ...rest]])
    const wanted = floats(expected).slice(given.length)
    const ways = [model.adapted([await prefixTuning(model, { tokens: given })])]
    if (model.spec.embedScale === undefined) {
      const soft = promptTuning(model, { tokens: given })
      ways.push(model.adapted([soft]), await attach(model, [soft]))
    } else expect(() => promptTuning(model, { tokens: given })).toThrow('train a prefix instead')
    for (const way of ways) {
      expect(way.context).toBe(model.context - given.length)
      allClose(floats(await way.score([rest])), wanted, { ...tolerance.f32, name: 'log-probabilities' })
    }
    const cached = ways.filter((way) => way.prefixLength > 0)
    for (const way of cached) {
      allClose(await scoreStepwise(way, rest), wanted, { ...tolerance.f32, name: 'through the cache' })
      const options = { temperature: 0, maxTokens: 6, stopTokens: [] }
      const [whole] = await complete(model, [[...given, ...rest]], options)
      const [short, , alone] = await complete(way, [rest, rest.slice(0, 2), rest], options)
      expect(short!.tokens).toEqual(whole!.tokens)
      expect(alone!.tokens).toEqual(whole!.tokens)
    }
  })
})

describe('adapters', () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  const gpt = Model.open(fixture('gpt2-tiny'), engine)
  const one = moved(lora(model, { targets: 'all-linear', rank: 3, alpha: 6 }), 1)
  const two = moved(lora(model, { targets: 'all-linear', rank: 3, alpha: 9, seed: 9 }), 2)

  it('are exchanged, weakened and stacked without compiling anew', async () => {
    using base = Model.open(fixture('llama-tiny'), engine)
    const first = await logitsOf(base.adapted([one]))
    const options = { temperature: 0, maxTokens: 3 }
    await complete(base.adapted([one]), [rows[0]!], options)
    const { compilations } = base
    const second = await logitsOf(base.adapted([two]))
    expect(distance(first, second)).toBeGreaterThan(0.1)
    const half = await logitsOf(base.adapted([withStrength(two, 0.5)]))
    expect(distance(half, second)).toBeGreaterThan(0.01)
    await complete(base.adapted([two]), [rows[0]!], options)
    expect(await logitsOf(base.adapted([one]))).toEqual(first)
    expect(base.compilations).toBe(compilations)
    // Two at once are another shape: one more program, for every pair.
    await logitsOf(base.adapted([one, two]))
    await logitsOf(base.adapted([two, one]))
    expect(base.compilations).toBe(compilations + 1)
  })

  it('add up: stacked and weakened LoRAs are the sum that a loop in float64 makes', async () => {
    const strengths = [0.5, -1.5]
    const summed = mapTree(model.params, (leaf, path) => {
      const place = path.replace(/\.weight$/, '')
      if (!one.params.linears![place]) return leaf
      const weight = Float64Array.from(floats(leaf))
      const [out, inner] = leaf.sizes as [number, number]
      for (const [i, adapter] of [one, two].entries()) {
        const { a, b } = adapter.params.linears![place] as { a: Tensor; b: Tensor }
        const scale = strengths[i]! * [2, 3][i]!
        for (let o = 0; o < out; o++)
          for (let k = 0; k < inner; k++)
            for (let r = 0; r < 3; r++)
              weight[o * inner + k]! += scale * floats(b)[o * 3 + r]! * floats(a)[r * inner + k]!
      }
      return tensor(Float32Array.from(weight), leaf.sizes)
    }) as DecoderParams
    const byHand = new Model({ engine, spec: model.spec, params: summed })
    const stack = [withStrength(one, 0.5), withStrength(two, -1.5)]
    allClose(await logitsOf(model.adapted(stack)), await logitsOf(byHand), {
      ...tolerance.f32,
      name: 'logits',
    })
  })

  it('of strength 0 leave every bit as it is, in whole passes and through the cache', async () => {
    for (const base of [model, gpt]) {
      const before = await logitsOf(base)
      const scores = await scoreStepwise(base, rows[0]!)
      const all = { targets: 'all-linear', rank: 2 }
      const adapters = [lora(base, all), lora(base, { ...all, dora: true }), ia3(base)]
      for (const adapter of adapters) {
        const none = base.adapted([withStrength(moved(adapter, 5), 0)])
        expect(await logitsOf(none)).toEqual(before)
        expect(await scoreStepwise(none, rows[0]!)).toEqual(scores)
        expect(await logitsOf(await none.merged())).toEqual(before)
      }
    }
  })

  it('show in the result of each head, biases included', async () => {
    const all = [
      moved(lora(gpt, { targets: ['attn.c_proj', 'c_attn'], rank: 2 }), 1),
      moved(ia3(gpt, { targets: ['attn.c_proj', 'c_attn'] }), 2, 0.3),
    ]
    const adapted = gpt.adapted(all)
    const sites = ['logits', 'blocks.1.attn.hook_result']
    const { logits } = await adapted.run(rows, { read: sites })
    allClose(floats(logits), await logitsOf(adapted), { ...tolerance.f32, name: 'logits' })
  })

  it('stay beside rounded weights, or go into them before', async () => {
    const wide = Model.open(fixture('llama-tiny-16'), engine)
    const adapter = moved(lora(wide, { targets: ['q_proj', 'down_proj', 'gate_proj'] }), 1, 0.2)
    const adapted = wide.adapted([adapter])
    const exact = await logitsOf(adapted)
    const effect = distance(exact, await logitsOf(wide))
    for (const sealed of [
      seal(adapted, { weights: 'int8' }),
      seal(await adapted.merged(), { weights: 'int8' }),
    ])
      expect(distance(await logitsOf(sealed), exact)).toBeLessThan(0.1 * effect)
  })

  it('serve beams, which share a prefix', async () => {
    const given = [3, 9, 4]
    const options = { beams: 3, maxTokens: 5, temperature: 0, stopTokens: [] }
    const [whole] = await complete(model, [[...given, 22, 7]], options)
    const [short] = await complete(
      model.adapted([await prefixTuning(model, { tokens: given })]),
      [[22, 7]],
      options,
    )
    expect(short!.tokens).toEqual(whole!.tokens)
  })

  it('of the embedding leave a tied head alone, running and merged', async () => {
    const tied = Model.open(fixture('llama-tiny-16'), engine)
    const adapter = readAdapter(fixture('adapters/llama-tiny-16/embedding'), tied)
    const merged = await tied.adapted([adapter]).merged()
    expect(merged.params.head!.weight).toBe(tied.params.embed)
    expect(merged.params.embed).not.toBe(tied.params.embed)
  })

  it('are merged once', async () => {
    const merged = await model.adapted([one]).merged()
    const untouched = (params: DecoderParams): unknown => (params.blocks[0]!.ln1 as Linear).weight
    expect(untouched(merged.params)).toBe(untouched(model.params))
    await expect(merged.merged()).rejects.toThrow('there is no adapter to merge')
    expect(() => merged.adapted([one])).toThrow('merged into the weights already')
    await expect(mergeAdapters(engine, model.spec, merged.params, [one])).rejects.toThrow(
      'merged into the weights',
    )
    // Another one may follow.
    const both = await merged.adapted([two]).merged()
    allClose(await logitsOf(both), await logitsOf(model.adapted([one, two])), {
      ...tolerance.f32,
      name: 'logits',
    })
  })

  it('refuse what does not go together, by name', async () => {
    const prefix = await prefixTuning(model, { length: 2 })
    const prompt = promptTuning(model, { length: 2 })
    expect(() => model.adapted([prefix, prompt])).toThrow(
      'only one of the adapters can be a prefix or a soft prompt',
    )
    expect(() => withStrength(prefix, 0.5)).toThrow('an adapter with a prefix is there or not')
    expect(() => withStrength(prompt, 0)).toThrow('an adapter with a soft prompt is there or not')
    const saved = lora(model, { save: ['lm_head'] })
    expect(() => withStrength(saved, 2)).toThrow('modules_to_save')
    await expect(complete(model.adapted([prompt]), [[1, 2]])).rejects.toThrow('attach it with `attach`')
    const attached = await attach(model, [prompt])
    expect(() => exportModel(attached, join(scratch, 'x.onnx'), { cache: 'room' })).toThrow(
      'exported with a cache',
    )
    expect(() => seal(model.adapted([prompt]))).toThrow('attached with `attach`')
    expect(() => model.adapted([saved, saved])).toThrow("replaces 'head' whole, and another one changes it")
    const onHead = lora(model, { targets: ['lm_head'] })
    expect(() => model.adapted([onHead, saved])).toThrow("replaces 'head' whole")
    expect(() => model.adapted([saved, onHead])).toThrow("replaces 'head' whole")
    expect(() => seal(model.adapted([saved]), { weights: 'int8' })).toThrow('must be merged before')
    expect(() => seal(model).adapted([one])).toThrow('keeps the adapters that it was sealed with')
    const other = lora(gpt)
    await expect(model.adapted([other]).run(rows)).rejects.toThrow("there is no 'blocks.0.attn.qkv'")
    const rounded = seal(model.adapted([lora(model, { dora: true })]), { weights: 'int4', block: 16 })
    await expect(rounded.run(rows)).rejects.toThrow('DoRA needs the numbers of the weights')
    await expect(attached.run([new Array(127).fill(1)])).rejects.toThrow('the context is 126')
    const long = promptTuning(model, { length: 128 })
    expect(() => model.adapted([long])).toThrow('leaves no room in 128 positions')
    const { moduleNames: _, ...nameless } = model
    expect(() => lora({ ...nameless, spec: model.spec, params: model.params })).toThrow(
      'that was opened from a checkpoint',
    )
  })

  it.each<[string, Parameters<typeof lora>[1]]>([
    ["the model has no module 'c_attn'; there are", { targets: ['c_attn'] }],
    ['choose nothing of this model', { targets: 'nothing.*' }],
    ['cannot be read', { targets: '(' }],
    ["'model.layers.0.input_layernorm' is neither", { targets: ['input_layernorm'] }],
    ["the model has no module 'score'", { save: ['score'] }],
    ["DoRA of the embedding 'model.embed_tokens'", { targets: ['embed_tokens'], dora: true }],
  ])('say what is wrong with targets: %s', (message, options) => {
    expect(() => lora(model, options)).toThrow(message)
  })

  it('choose modules as PEFT does', () => {
    const chosen = (base: AdapterBase, options: Parameters<typeof lora>[1]): string[] =>
      Object.keys(lora(base, options).params.linears!)
    expect(chosen(model, { targets: ['self_attn.q_proj'], layers: [1] })).toEqual(['blocks.1.attn.q'])
    expect(chosen(model, { targets: String.raw`model\.layers\.[02]\..*v_proj` })).toEqual([
      'blocks.0.attn.v',
      'blocks.2.attn.v',
    ])
    expect(chosen(model, { targets: ['q_proj', 'k_proj'], exclude: ['k_proj'], layers: [0] })).toEqual([
      'blocks.0.attn.q',
    ])
    // The head is not among all linear parts, as it is of the output.
    expect(chosen(model, { targets: 'all-linear' })).toHaveLength(3 * 7)
    expect(chosen(model, { targets: ['lm_head'] })).toEqual(['head'])
    expect(ia3(gpt).config.target_modules).toEqual(['c_attn', 'mlp.c_proj'])
    expect(ia3(model).config.target_modules).toEqual(['k_proj', 'v_proj', 'down_proj'])
  })

  it('are addressed by the modules of the model, where the first releases left out a part of the name', () => {
    const bare = { ...gpt, spec: gpt.spec, params: gpt.params }
    const named = (prefix: string) =>
      modulesOf({ ...bare, moduleNames: { names: gpt.moduleNames!.names, prefix } })[0]!.module
    expect(named('')).toBe('transformer.wte')
    expect(named('x.')).toBe('x.transformer.wte')
  })
})

/** The default modules of PEFT 0.20 (utils/constants.py), but for phi, where it adds fc1 and fc2. */
describe('the default targets are those of PEFT', () => {
  it.each([
    ['gpt2-tiny', ['c_attn']],
    ['llama-tiny', ['q_proj', 'v_proj']],
    ...['mistral', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3', 'gpt-neo', 'opt', 'mixtral'].map(
      (name) => [`families/${name}`, ['q_proj', 'v_proj']] as const,
    ),
    ['families/gpt-neox', ['query_key_value']],
  ] as [string, string[]][])('%s', (name, names) => {
    expect(lora(Model.open(fixture(name), engine)).config.target_modules).toEqual(names)
  })
})

describe('a folder', () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  const source = fixture('adapters/llama-tiny/lora')
  let count = 0
  /** A folder with another configuration. */
  function changed(change: Record<string, unknown>, weights = true): string {
    const folder = join(scratch, `changed-${count++}`)
    mkdirSync(folder)
    const config = JSON.parse(readFileSync(join(source, 'adapter_config.json'), 'utf8')) as object
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...config, ...change }))
    if (weights)
      writeFileSync(
        join(folder, 'adapter_model.safetensors'),
        readFileSync(join(source, 'adapter_model.safetensors')),
      )
    return folder
  }

  it.each<[string, Record<string, unknown>]>([
    ['peft_type "LOHA": supported are LORA, IA3', { peft_type: 'LOHA' }],
    ["'bias': trained biases", { bias: 'all' }],
    ["'init_lora_weights': this start changes the base weights", { init_lora_weights: 'pissa' }],
    ["'task_type': only CAUSAL_LM", { task_type: 'SEQ_CLS' }],
    ["'lora_bias' is true, which glossa does not know", { lora_bias: true }],
    ["'use_qalora' is true", { use_qalora: true }],
    ["'layer_replication' is [[0,2]]", { layer_replication: [[0, 2]] }],
    ["'of_tomorrow' is 3", { of_tomorrow: 3 }],
    ['is [4, 32], not [8, 32]', { r: 8 }],
    [
      "'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' and 5 more: the configuration does not ask",
      {
        target_modules: ['v_proj', 'down_proj'],
      },
    ],
    [
      "lora_A.weight' is missing, which the configuration asks for",
      {
        target_modules: ['q_proj', 'v_proj', 'down_proj', 'o_proj'],
      },
    ],
    ["lora_magnitude_vector' is missing", { use_dora: true }],
  ])('is refused for what would change the computation: %s', (message, change) => {
    const folder = changed(change)
    expect(() => readAdapter(folder, model)).toThrow(message)
    expect(() => readAdapter(folder, model)).toThrow(folder)
  })

  it('may hold keys of a later PEFT that are at rest, and what only training needs', () => {
    const folder = changed({
      of_tomorrow: null,
      another: false,
      list: [],
      lora_dropout: 0.1,
      fan_in_fan_out: true,
    })
    const adapter = readAdapter(folder, model)
    expect(adapter.config.lora_dropout).toBe(0.1)
    expect(Object.keys(adapter.params.linears!)).toHaveLength(9)
  })

  it('says what it lacks', () => {
    expect(() => readAdapter(join(scratch, 'none'), model)).toThrow('there is no such folder')
    const bare = changed({}, false)
    expect(() => readAdapter(bare, model)).toThrow('adapter_model.safetensors: missing')
    writeFileSync(join(bare, 'adapter_model.bin'), '')
    expect(() => readAdapter(bare, model)).toThrow('is a pickle')
    const outer = join(scratch, 'outer')
    writeAdapter(join(outer, 'french'), lora(model), model)
    expect(() => readAdapter(outer, model)).toThrow(`it is in ${join(outer, 'french')}`)
    const broken = changed({})
    writeFileSync(join(broken, 'adapter_config.json'), '{')
    expect(() => readAdapter(broken, model)).toThrow('not valid JSON')
    expect(() => writeAdapter(join(scratch, 'x'), withStrength(lora(model), 2), model)).toThrow('strength 2')
  })

  it('has the fields that PEFT needs', () => {
    const folder = join(scratch, 'fields')
    const adapter = lora(model, {
      rank: 4,
      alpha: 8,
      rslora: true,
      dora: true,
      base: 'org/name',
      save: ['norm'],
    })
    writeAdapter(folder, adapter, model)
    const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    expect(config).toMatchObject({
      peft_type: 'LORA',
      task_type: 'CAUSAL_LM',
      base_model_name_or_path: 'org/name',
      inference_mode: true,
      bias: 'none',
      r: 4,
      lora_alpha: 8,
      use_rslora: true,
      use_dora: true,
      fan_in_fan_out: false,
      target_modules: ['q_proj', 'v_proj'],
      modules_to_save: ['norm'],
    })
    const tensors = readReference(folder, 'adapter_model.safetensors')
    const key = 'base_model.model.model.layers.0.self_attn.v_proj'
    expect(tensors.get(`${key}.lora_A.weight`)!.shape).toEqual([4, 32])
    expect(tensors.get(`${key}.lora_B.weight`)!.shape).toEqual([16, 4])
    expect(tensors.get(`${key}.lora_magnitude_vector`)!.shape).toEqual([16])
    expect(tensors.get('base_model.model.model.norm.weight')!.shape).toEqual([32])
    expect(tensors.size).toBe(3 * 2 * 3 + 1)
  })
})
