/** What holds for every method of the socket `edit`; see src/steer/steer.ts. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor, tensor } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import { writeSaeLens } from '../../src/interp/sae/files/index.ts'
import type { Sae, SaeConfig } from '../../src/interp/sae/sae.ts'
import type { Method } from '../../src/method/index.ts'
import { type Edits, joinEdits, Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { methodFiles } from '../../src/registry/methods.gen.ts'
import {
  contrastBias,
  newWordSteer,
  prototypesOf,
  type Steer,
  writeBias,
  writeControlVector,
  writePrototypes,
  writeWordSteer,
} from '../../src/steer/index.ts'
import { allClose } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-contract-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})
const model = Model.open('models/starter', engine)
const { width } = model.spec

const features = 48
const sines = (seed: number): Float32Array =>
  Float32Array.from({ length: features }, (_, i) => Math.max(0, Math.sin(seed * 5 + i * (seed + 2))))

/** An SAE of random directions. */
function randomSae(site: string, changes: Partial<SaeConfig> = {}): Sae {
  const draw = random.gaussian(site.length)
  const normal = (shape: [number, number], size: number): Tensor =>
    tensor(
      Float32Array.from({ length: shape[0] * shape[1] }, () => size * draw()),
      shape,
    )
  return {
    config: {
      ...{ architecture: 'topk', k: 12, dIn: width, dOut: width, dSae: features, transcoder: false },
      ...{ subtractBias: true, normalize: 'none', site, ...changes },
    },
    params: {
      W_enc: normal([width, features], 0.3),
      W_dec: normal([features, width], 0.3),
      b_enc: tensor(new Float32Array(features)),
      b_dec: tensor(new Float32Array(width)),
    },
  }
}

/** The folder of an SAE. */
function written(sae: Sae): string {
  const path = join(folder, sae.config.site!)
  writeSaeLens(path, sae)
  return path
}

/** Options of each method, with which strength 1 changes much. A new method needs an entry. */
const examples: Readonly<Record<string, () => Readonly<Record<string, unknown>>>> = {
  'control-vector': () => {
    const file = join(folder, 'vector.gguf')
    const directions = new Map(
      [1, 3].map((layer) => [
        layer,
        Float32Array.from({ length: width }, (_, i) => 2 * Math.sin(layer + 3 * i)),
      ]),
    )
    writeControlVector(file, { directions, modelHint: 'starter' })
    return { file }
  },
  'lm-steer': () => {
    const file = join(folder, 'steer.safetensors')
    writeWordSteer(file, newWordSteer(model.spec, { rank: 4, epsilon: 0.01, deviation: 0.7, seed: 3 }))
    return { file }
  },
  'lf-steering': () => {
    const states = randomSae('blocks.2.hook_resid_post')
    const file = join(folder, 'bias.safetensors')
    writeBias(
      file,
      contrastBias(
        sines(1).map((x) => 8 * x),
        sines(2),
        40,
      ),
      states.config,
    )
    return { sae: written(states), bias: file }
  },
  scar: () => ({
    sae: written(randomSae('blocks.1.hook_mlp_out', { normalize: 'layer_norm', k: 40 })),
    feature: 7,
  }),
  'sae-steer': () => ({ sae: written(randomSae('blocks.2.hook_mlp_out')), feature: 3 }),
  'sparse-query': () => {
    const queries = randomSae('blocks.3.attn.hook_q')
    const file = join(folder, 'prototypes.safetensors')
    writePrototypes(file, prototypesOf({ calm: sines(3), loud: sines(4) }), queries.config)
    return { sae: written(queries), prototypes: file, target: 'loud', steps: 4 }
  },
  'value-vectors': () => ({ words: ['dog', 'happy'], coefficient: 2 }),
}

/** Two strengths, the second one the stronger, and others: of methods whose strength has ends, within them. */
const strengthsOf = ({ id }: Method) =>
  id === 'value-vectors' ? { one: 0.5, two: 1, others: [0.25, 0.75] } : { one: 1, two: 2, others: [-2, 0.5] }

const methods: Method[] = []
for (const open of Object.values(methodFiles)) {
  const method = await open()
  if (method.socket === 'edit') methods.push(method)
}

const rounding = { rtol: 1e-4, atol: 2e-4 }
const row = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => 3 + ((i * 37 + seed * 11) % 900))
const greedy = { temperature: 0, maxTokens: 12, stopTokens: [] as number[], logprobs: 0 }

/** A method's edits at a strength. */
const at = async (method: Method, strength: number): Promise<Edits> => {
  const options = method.options.parse({ ...examples[method.id]!(), strength }) as never
  return (method.make(options) as Steer)(model)
}
const logits = async (of: Model, tokens = row(10, 1)): Promise<Float32Array> =>
  (await of.run([tokens])).logits!.data as Float32Array

it('has an example of every method', () => {
  expect(Object.keys(examples).sort()).toEqual(methods.map(({ id }) => id).sort())
})

describe.each(methods.map((method) => [method.id, method] as const))('%s', (_, method) => {
  it('changes nothing at strength 0, to the last bit', async () => {
    expect(await logits(model.edited(await at(method, 0)))).toEqual(await logits(model))
    const changed = await logits(model.edited(await at(method, 1)))
    const plain = await logits(model)
    expect(changed.reduce((most, x, i) => Math.max(most, Math.abs(x - plain[i]!)), 0)).toBeGreaterThan(0.1)
  })

  it('compiles nothing for another strength', async () => {
    await logits(model.edited(await at(method, 1)))
    const { compilations } = model
    for (const strength of strengthsOf(method).others) await logits(model.edited(await at(method, strength)))
    expect(model.compilations).toBe(compilations)
  })

  it('steers a cached generation, and each row of a batch, as an uncached row', async () => {
    const view = model.edited(await at(method, 1))
    const prompts = [row(6, 1), row(3, 2)]
    const texts = await complete(view, prompts, greedy)
    for (const [i, { tokens, logprobs }] of texts.entries()) {
      const [alone] = await complete(view, [prompts[i]!], greedy)
      expect(alone!.tokens).toEqual(tokens)
      const whole = (await view.score([[...prompts[i]!, ...tokens]])).data as Float32Array
      const own = Float32Array.from(logprobs!, ({ logprob }) => logprob)
      allClose(own, whole.slice(prompts[i]!.length - 1), { ...rounding, name: `row ${i}` })
    }
  })

  it('works on int4 weights, where the strength can be exchanged', async () => {
    using plain = seal(model, { weights: 'int4' })
    const strengths = strengthsOf(method)
    const stronger = await at(method, strengths.two)
    using sealed = seal(model, { weights: 'int4', edit: await at(method, strengths.one) })
    const [one, two] = [await logits(sealed), await logits(sealed.edited(stronger))]
    expect(sealed.compilations).toBe(1)
    // Far from rounding: further than the weights' own.
    const distance = (a: Float32Array, b: Float32Array): number => Math.hypot(...a.map((x, i) => x - b[i]!))
    expect(distance(two, await logits(plain))).toBeGreaterThan(distance(one, await logits(plain)))
    using constant = seal(model, { weights: 'int4', edit: stronger })
    expect(two).toEqual(await logits(constant))
  })

  it('composes with every method, in the order in which they are given', async () => {
    for (const other of methods) {
      const [first, second] = [await at(method, 1), await at(other, 0.5)]
      const both = await logits(model.edited(joinEdits(first, second)))
      // One in the model, the other in the pass: the model's own acts first.
      const { logits: nested } = await model
        .edited(first)
        .run([row(10, 1)], { read: ['logits'], edit: second })
      expect(both).toEqual(nested!.data)
      const joined = joinEdits(first, second)
      for (const site of Object.keys(first))
        expect([joined[site]].flat()[0], site).toBe([first[site]].flat()[0])
    }
  })
})
