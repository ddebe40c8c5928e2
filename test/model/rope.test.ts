/** Scalings of rotary positions beyond the first context, and what their configurations may say. */
import { afterAll, describe, expect, it } from 'vitest'
import { tensor } from '../../src/array/index.ts'
import { llama } from '../../src/model/families/llama.ts'
import { load, Model, rotaryTables } from '../../src/model/index.ts'
import type { RotarySpec } from '../../src/model/spec.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['llama-dynamic', 'llama-longrope'])('%s', (name) => {
  const folder = fixture(`families/${name}`)
  const reference = readReference(folder)
  const { data, shape } = reference.get('long.tokens')!
  const tokens = tensor(data as Int32Array, shape)
  const limits = { ...tolerance.f32, name: 'long.logits' }

  it('opened with a longer context gives what Hugging Face gives for a sequence of that length', async () => {
    const model = new Model({ engine, ...load(folder), context: shape[1]! })
    const { logits } = await model.run(tokens)
    allClose(logits!.data as Float32Array, reference.get('long.logits')!.data, limits)
    // The cache holds the same angles.
    const cache = model.newCache(1, shape[1]!)
    const [lengths, at] = [tensor(Int32Array.of(0)), tensor(Int32Array.of(shape[1]! - 2))]
    const row = [...data]
    const past = await model.step({ tokens: model.rows([row.slice(0, -1)]), cache, lengths, at })
    const next = await model.step({
      tokens: model.rows([row.slice(-1)]),
      cache: past.cache,
      lengths: tensor(Int32Array.of(shape[1]! - 1)),
      at: tensor(Int32Array.of(0)),
    })
    allClose(
      next.logits.data as Float32Array,
      reference.get('long.logits')!.data.slice(-model.spec.vocab),
      limits,
    )
  })

  it('as it is refuses what is longer than its first context', async () => {
    const model = Model.open(folder, engine)
    expect(model.context).toBe(24)
    await expect(model.run(tokens)).rejects.toThrow('40 positions, but the context is 24')
  })
})

it('dynamic scaling leaves short contexts as they are', () => {
  const { spec } = load(fixture('families/llama-dynamic'))
  const { scaling, ...plain } = spec.position as RotarySpec
  expect(scaling).toMatchObject({ kind: 'dynamic', factor: 4, originalContext: 24 })
  const [stretched, same] = [spec, { ...spec, position: plain }].map(
    (own) => rotaryTables(own)!.full.cos.data,
  )
  expect(stretched).toEqual(same)
})

describe('configurations', () => {
  const base = {
    model_type: 'llama',
    vocab_size: 11,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
  }
  const scaled = (rope_scaling: object) => llama.describe({ ...base, rope_scaling }, () => true).spec
  const scalingOf = (rope_scaling: object) => (scaled(rope_scaling).position as RotarySpec).scaling

  it('yarn: defaults and overrides are those of Hugging Face', () => {
    const yarn = { kind: 'yarn', factor: 4, originalContext: 32, fast: 32, slow: 1, truncate: true }
    const magnitude = 0.1 * Math.log(4) + 1
    const given = { type: 'yarn', original_max_position_embeddings: 32 }
    expect(scalingOf({ ...given, factor: 4 })).toEqual({ ...yarn, magnitude })
    // Without a factor: the quotient of the contexts.
    expect(scalingOf(given)).toEqual({ ...yarn, magnitude })
    expect(scalingOf({ type: 'yarn', factor: 2 })).toMatchObject({ factor: 2, originalContext: 128 })
    expect(scalingOf({ ...given, factor: 4, attention_factor: 1.5 })).toMatchObject({ magnitude: 1.5 })
    const quotient = (0.1 * 0.5 * Math.log(4) + 1) / magnitude
    expect(scalingOf({ ...given, factor: 4, mscale: 0.5, mscale_all_dim: 1 })).toMatchObject({
      magnitude: quotient,
    })
  })

  it('longrope: the context is the one of the short factors', () => {
    const [short_factor, long_factor] = [new Array(4).fill(1), new Array(4).fill(2)]
    const longrope = {
      rope_type: 'longrope',
      short_factor,
      long_factor,
      original_max_position_embeddings: 32,
    }
    expect(scaled(longrope).context).toBe(32)
    expect(scalingOf(longrope)).toMatchObject({ magnitude: Math.sqrt(1 + Math.log(4) / Math.log(32)) })
    expect(() => scaled({ ...longrope, short_factor: [1] })).toThrow(
      "'short_factor' has 1 entries for 4 rotated pairs",
    )
  })

  it('refuses what is missing, unknown, or of another kind', () => {
    expect(() => scaled({ rope_type: 'dynamic' })).toThrow("rope scaling 'dynamic' needs 'factor'")
    expect(() => scaled({ rope_type: 'longrope', factor: 2 })).toThrow(
      "needs 'original_max_position_embeddings'",
    )
    expect(() => scaled({ rope_type: 'linear', factor: 2, beta_fast: 1 })).toThrow(
      "'linear' does not read 'beta_fast'",
    )
    expect(() => scaled({ rope_type: 'proportional' })).toThrow(
      "rope scaling 'proportional' is not supported",
    )
    expect(() => scaled({ rope_type: 'yarn', factor: 2, finetuned: true })).toThrow(
      "unknown keys 'finetuned'",
    )
  })
})
