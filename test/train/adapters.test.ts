/**
 * Adapters against an independent PyTorch implementation, from and into folders in PEFT's layout. The folders were
 * written by test/fixtures/adapters.py, a port of PEFT by hand, not by PEFT; see test/fixtures/README.md.
 */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import {
  type AdapterParams,
  attach,
  convertToGguf,
  Model,
  modulesOf,
  rotaryTables,
  seal,
} from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { f32ToF16, type SafetensorsSource, writeSafetensors } from '../../src/store/index.ts'
import { readAdapter, writeAdapter } from '../../src/train/adapters/peft.ts'
import { type Adapter, adamw, nextTokenLoss, overFrozen } from '../../src/train/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const scratch = mkdtempSync(join(tmpdir(), 'glossa-adapters-'))
afterAll(async () => {
  rmSync(scratch, { recursive: true })
  await engine.dispose()
})

const models = new Map(
  ['llama-tiny', 'llama-tiny-16', 'gpt2-tiny'].map((name) => [name, Model.open(fixture(name), engine)]),
)
const cases = [...models.keys()].flatMap((name) =>
  readdirSync(fixture(`adapters/${name}`)).map((kind) => [name, kind] as const),
)
const tokensOf = (name: string): Tensor => {
  const { data, shape } = readReference(fixture(name)).get('tokens')!
  return tensor(data, shape)
}
const floats = (x: Tensor | undefined) => ({ shape: [...x!.sizes], data: x!.data as Float32Array })

/** The parameters of an adapter, or their gradients, under PEFT's keys: written down anew from its documentation. */
function keyed(params: AdapterParams, model: Model): Map<string, Tensor> {
  const parts = new Map(modulesOf(model).map((part) => [part.place, part]))
  const found = new Map<string, Tensor>()
  for (const [place, part] of Object.entries(params.linears ?? {})) {
    const { module, kind } = parts.get(place)!
    const suffixes =
      kind === 'embedding'
        ? { a: 'lora_embedding_A', b: 'lora_embedding_B' }
        : { a: 'lora_A.weight', b: 'lora_B.weight' }
    const names = { ...suffixes, magnitude: 'lora_magnitude_vector', inputs: 'ia3_l', outputs: 'ia3_l' }
    for (const [name, leaf] of Object.entries(part))
      found.set(`base_model.model.${module}.${names[name as keyof typeof names]}`, leaf as Tensor)
  }
  for (const [place, leaf] of Object.entries(params.saved ?? {}))
    found.set(
      place === 'head.weight' ? 'base_model.model.lm_head.weight' : 'base_model.model.model.norm.weight',
      leaf,
    )
  for (const leaf of [params.prefix, params.prompt]) if (leaf) found.set('prompt_embeddings', leaf)
  return found
}

const lossOf = (model: Model, tokens: Tensor, adapter: Adapter) => {
  const { assemble, frozen, params } = overFrozen(model.params, adapter)
  const rotary = rotaryTables(model.spec)
  const { base, ...rest } = frozen
  return {
    params,
    base,
    rest,
    loss: (own: AdapterParams, given: typeof base) =>
      nextTokenLoss(model.spec, assemble(own, { base: given, ...rest }), tokens, rotary),
  }
}

describe.each(cases)('%s with %s', (name, kind) => {
  const model = models.get(name)!
  const folder = fixture(`adapters/${name}/${kind}`)
  const expected = readReference(folder)
  const tokens = tokensOf(name)
  const adapter = readAdapter(folder, model)

  it('writes what it has read: the same keys, shapes and numbers, and the same bytes again', () => {
    const [once, twice] = [join(scratch, `${name}-${kind}-1`), join(scratch, `${name}-${kind}-2`)]
    writeAdapter(once, adapter, model)
    const original = readReference(folder, 'adapter_model.safetensors')
    const written = readReference(once, 'adapter_model.safetensors')
    expect([...written.keys()]).toEqual([...original.keys()].sort())
    for (const [key, { shape, data }] of original) {
      expect(written.get(key)!.shape, key).toEqual(shape)
      expect(written.get(key)!.data, key).toEqual(data)
    }
    const json = (path: string): unknown =>
      JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8'))
    expect(json(once)).toEqual(json(folder))
    writeAdapter(twice, readAdapter(once, model), model)
    for (const file of ['adapter_config.json', 'adapter_model.safetensors'])
      expect(readFileSync(join(twice, file)).equals(readFileSync(join(once, file))), file).toBe(true)
  })

  // The case 'run' has losses in place of logits.
  it.skipIf(kind === 'run')('gives the logits, the loss and every gradient', async () => {
    const { logits } = await model.adapted([adapter]).run(tokens)
    allClose(floats(logits), expected.get('logits')!, { ...tolerance.f32, name: 'logits' })
    const { loss, params, base } = lossOf(model, tokens, adapter)
    using step = engine.jit((own: AdapterParams, given: typeof base) => valueAndGrad(loss)(own, given))
    const [value, grads] = await step(params, base)
    allClose(floats(value), expected.get('loss')!, { ...tolerance.f32, name: 'loss' })
    const found = keyed(grads as AdapterParams, model)
    const keys = [...expected.keys()].filter((key) => key.startsWith('grad.'))
    expect(found.size).toBe(keys.length)
    for (const key of keys)
      allClose(found.get(key.slice(5))!.data as Float32Array, expected.get(key)!.data, {
        ...tolerance.gradient,
        name: key,
      })
  })

  it.skipIf(kind === 'run')(
    'continues greedily through the cache: alone, in a batch, sealed and merged',
    async () => {
      const golden = [...expected.get('greedy')!.data]
      const prompts = [golden.slice(0, 5), golden.slice(0, 8)]
      const options = { temperature: 0, maxTokens: golden.length - 5, stopTokens: [] }
      const attached = await attach(model, [adapter])
      const ways = [attached, seal(attached)]
      if (adapter.params.linears) ways.push(await attached.merged(), seal(await attached.merged()))
      for (const way of ways) {
        const [alone] = await complete(way, [prompts[0]!], options)
        expect(alone!.tokens).toEqual(golden.slice(5))
        const batch = await complete(way, prompts, options)
        expect(batch[0]!.tokens).toEqual(golden.slice(5))
        expect(batch[1]!.tokens.slice(0, golden.length - 8)).toEqual(golden.slice(8))
        const { logits } = await way.run(tokens)
        allClose(floats(logits), expected.get('logits')!, { ...tolerance.f32, name: 'logits' })
      }
    },
  )
})

describe('training', () => {
  it('follows fifty steps of AdamW, step by step', async () => {
    const model = models.get('llama-tiny')!
    const folder = fixture('adapters/llama-tiny/run')
    const { data: batches } = readReference(folder).get('batches')!
    const { data: losses } = readReference(folder).get('losses')!
    const adapter = readAdapter(folder, model)
    // At the start B is zero: the file's own B stands for what was trained elsewhere.
    const zeroed = Object.fromEntries(
      Object.entries(adapter.params.linears!).map(([place, part]) => {
        const { a, b } = part as { a: Tensor; b: Tensor }
        return [place, { a, b: tensor(new Float32Array(b.data.length), b.sizes) }]
      }),
    )
    const { assemble, frozen } = overFrozen(model.params, adapter)
    const rotary = rotaryTables(model.spec)
    const optimizer = adamw({ weightDecay: 0.01 })
    type State = ReturnType<typeof optimizer.init<AdapterParams>>
    using step = engine.jit(
      (own: AdapterParams, state: State, rest: typeof frozen, tokens: Tensor, rate: Tensor) => {
        const loss = (p: AdapterParams) => nextTokenLoss(model.spec, assemble(p, rest), tokens, rotary)
        const [value, grads] = valueAndGrad(loss)(own)
        return { value, ...optimizer.update(own, grads as AdapterParams, state, rate) }
      },
      { axes: [undefined, undefined, undefined, ['batch', 'time']] },
    )
    let params: AdapterParams = { linears: zeroed }
    let state = optimizer.init(params)
    const found: number[] = []
    for (let i = 0; i <= 50; i++) {
      const at = Math.min(i, 49)
      const tokens = tensor((batches as Int32Array).slice(24 * at, 24 * at + 24), [2, 12])
      const result = await step(params, state, frozen, tokens, tensor([5e-3], []))
      found.push(result.value.item())
      ;({ params, state } = result)
    }
    expect(leaves(params).length).toBe(30)
    // PyTorch's own float32 is off by 3.7e-6 from its float64.
    allClose(found, losses, { rtol: 0, atol: 2e-5, name: 'losses' })
    expect(found[0]! - found[50]!).toBeGreaterThan(4)
  })
})

describe('other checkpoints of the same model', () => {
  /** The logits of the fixture, and the tensors of its file, by way of another checkpoint. */
  async function agrees(other: Model, name: string, kind: string): Promise<void> {
    const folder = fixture(`adapters/${name}/${kind}`)
    const adapter = readAdapter(folder, other)
    const { logits } = await other.adapted([adapter]).run(tokensOf(name))
    const expected = readReference(folder).get('logits')!
    allClose(floats(logits), expected, { ...tolerance.f32, name: `${kind}: logits` })
    const written = join(scratch, `other-${name}-${kind}`)
    writeAdapter(written, adapter, other)
    const tensors = readReference(written, 'adapter_model.safetensors')
    for (const [key, { data }] of readReference(folder, 'adapter_model.safetensors'))
      expect(tensors.get(key)!.data, key).toEqual(data)
  }

  it('GGUF, whose queries and keys have another order of rows', async () => {
    const file = join(scratch, 'llama.gguf')
    convertToGguf(fixture('llama-tiny'), file, 'f32')
    using model = Model.open(file, engine)
    for (const kind of ['lora', 'rslora', 'dora', 'ia3', 'saved', 'prefix', 'prompt'])
      await agrees(model, 'llama-tiny', kind)
  })

  it('GGUF in blocks, which run as they are stored with the adapter beside them', async () => {
    const file = join(scratch, 'llama-q8.gguf')
    convertToGguf(fixture('llama-tiny'), file, 'q8_0')
    using model = Model.open(file, engine)
    const adapter = readAdapter(fixture('adapters/llama-tiny/rslora'), model)
    using stored = seal(model.adapted([adapter]), { weights: 'stored' })
    const { logits } = await stored.run(tokensOf('llama-tiny'))
    const expected = readReference(fixture('adapters/llama-tiny/rslora')).get('logits')!.data
    const plain = readReference(fixture('llama-tiny')).get('logits')!.data
    const apart = (a: ArrayLike<number>): number =>
      Math.sqrt(floats(logits).data.reduce((sum, x, i) => sum + (x - a[i]!) ** 2, 0))
    // Rounding to 8 bits moves the logits by a few hundredths of what the adapter does.
    expect(apart(expected)).toBeLessThan(0.1 * apart(plain))
  })

  it('the first releases of GPT-2, which left out a part of every name', async () => {
    const folder = join(scratch, 'gpt2-bare')
    mkdirSync(folder)
    copyFileSync(join(fixture('gpt2-tiny'), 'config.json'), join(folder, 'config.json'))
    const tensors = [...readReference(fixture('gpt2-tiny'), 'model.safetensors')].map(
      ([name, { shape, data }]) =>
        ({ name: name.replace('transformer.', ''), dtype: 'f32', shape, data }) as const,
    )
    writeSafetensors(join(folder, 'model.safetensors'), tensors)
    using model = Model.open(folder, engine)
    for (const kind of ['lora', 'ia3']) await agrees(model, 'gpt2-tiny', kind)
  })
})

it('reads what other versions of PEFT write: f16, a magnitude as a module, an embedding saved along', () => {
  const model = models.get('llama-tiny')!
  /** A fixture with other tensors. */
  const variant = (
    kind: string,
    change: (name: string) => string,
    more: SafetensorsSource[] = [],
  ): Adapter => {
    const [source, folder] = [fixture(`adapters/llama-tiny/${kind}`), join(scratch, `variant-${kind}`)]
    mkdirSync(folder)
    copyFileSync(join(source, 'adapter_config.json'), join(folder, 'adapter_config.json'))
    const tensors = [...readReference(source, 'adapter_model.safetensors')].map(([name, { shape, data }]) => {
      const half = f32ToF16(data as Float32Array)
      return { name: change(name), dtype: 'f16', shape, data: half } as const
    })
    writeSafetensors(join(folder, 'adapter_model.safetensors'), [...tensors, ...more])
    return readAdapter(folder, model)
  }
  const dora = variant('dora', (name) => name.replace(/magnitude_vector$/, '$&.weight'))
  const exact = readAdapter(fixture('adapters/llama-tiny/dora'), model)
  for (const [i, [path, leaf]] of leaves(dora.params).entries())
    allClose(floats(leaf), floats(leaves(exact.params)[i]![1]), { atol: 1e-6, rtol: 1e-3, name: path })
  const embed = model.params.embed as Tensor
  const along = (data: Float32Array): SafetensorsSource => ({
    name: 'base_model.model.model.embed_tokens.base_layer.weight',
    dtype: 'f32',
    shape: embed.sizes,
    data,
  })
  const own = embed.data as Float32Array
  const places = (adapter: Adapter): string[] => Object.keys(adapter.params.saved!)
  expect(places(variant('saved', (name) => name, [along(own)]))).toEqual(['lnFinal.weight', 'head.weight'])
  rmSync(join(scratch, 'variant-saved'), { recursive: true })
  expect(places(variant('saved', (name) => name, [along(own.map((x) => 2 * x))]))).toContain('embed')
})
