/** Attention over a cache: where the fused operator is used, that it equals its body, and what it cannot do. */
import { afterAll, describe, expect, it } from 'vitest'
import { type Tensor, tensor, trace } from '../../src/array/index.ts'
import { type AttentionCache, type DecoderParams, forward, Model, Taps } from '../../src/model/index.ts'
import type { StepInput } from '../../src/model/model.ts'
import { rotaryTables } from '../../src/model/parts/position.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { lower } from '../../src/onnx/lower.ts'
import { allClose, fixture, readReference, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime())
afterAll(() => engine.dispose())

const names = ['gpt2-tiny', 'llama-tiny', 'llama-tiny-16'] as const
type Name = (typeof names)[number] | 'llama-tiny, interleaved' | 'llama-tiny-16, interleaved'
const open = (name: Name): Model => {
  const [folder] = name.split(',') as [string]
  const model = Model.open(fixture(folder), engine)
  return name.includes('interleaved') ? interleave(model) : model
}
const rotating = ['llama-tiny, interleaved', 'llama-tiny-16, interleaved'] as const
/** Rotary needs heads of a multiple of 16; without rotary any size will do. */
const fusedModels: readonly Name[] = ['gpt2-tiny', 'llama-tiny-16', 'llama-tiny-16, interleaved']

const ints = (values: readonly number[]): Tensor => tensor(Int32Array.from(values))
const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => (i * 31 + seed * 17) % 97)
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
/** Cached and uncached passes sum in different orders. */
const rounding = { rtol: 1e-4, atol: 5e-5 }

/**
 * The same function with pairs that are neighbours: rows i and i + D/2 of a head's projection move to 2i and
 * 2i + 1. Scores do not depend on the order of a head's dimensions.
 */
function interleave(model: Model): Model {
  const { spec, params } = model
  const { heads, keyValueHeads, headSize } = spec.attention!
  const reorder = (weight: Tensor, count: number): Tensor => {
    const [rows, width] = weight.sizes as [number, number]
    const moved = new Float32Array(rows * width)
    for (let head = 0; head < count; head++)
      for (let i = 0; i < headSize; i++) {
        const from = head * headSize + (i % 2) * (headSize / 2) + Math.floor(i / 2)
        moved.set(floats(weight).subarray(from * width, (from + 1) * width), (head * headSize + i) * width)
      }
    return tensor(moved, [rows, width])
  }
  const blocks = params.blocks.map((block) => {
    if (!block.attn || !('q' in block.attn)) throw new Error('the fixtures have three projections')
    const { q, k, ...rest } = block.attn
    return {
      ...block,
      attn: {
        ...rest,
        q: { weight: reorder(q.weight as Tensor, heads) },
        k: { weight: reorder(k.weight as Tensor, keyValueHeads) },
      },
    }
  })
  if (spec.position.kind !== 'rotary') throw new Error('the model has no rotary positions')
  const position = { ...spec.position, interleaved: true }
  return new Model({ engine, spec: { ...spec, position }, params: { ...params, blocks } })
}

/** ONNX operators of the program that generates, in order. */
function operators(model: Model, read: readonly string[] = [], composed = false): string[] {
  const { spec, params } = model
  const rotary = rotaryTables(spec)
  const step = (p: DecoderParams, { tokens, cache, lengths, at }: StepInput) => {
    const taps = new Taps(spec, { read })
    const { logits } = forward(spec, p, { tokens, past: { cache, lengths, composed }, at }, rotary, taps)
    return { logits, ...taps.finish() }
  }
  const one = ints([0])
  const input = {
    tokens: tensor(Int32Array.of(0), [1, 1]),
    cache: model.newCache(1, 4),
    lengths: one,
    at: one,
  }
  const { graph } = trace(step, [params, input])
  return lower(graph, { name: 'step', provider: 'cpu' }).model.nodes.map(({ op }) => op)
}
const fusedCount = (...args: Parameters<typeof operators>): number =>
  operators(...args).filter((op) => op === 'GroupQueryAttention').length

/** A cache that holds the first `lengths[i]` tokens of row i, filled token by token. */
async function filled(
  model: Model,
  rows: readonly (readonly number[])[],
  lengths: readonly number[],
  capacity = 16,
) {
  let cache = model.newCache(rows.length, capacity)
  for (let i = 0; i < Math.max(...lengths); i++) {
    // Rows that are full already write past their end, where the next token will overwrite it.
    const tokens = rows.map((tokens, b) => [tokens[Math.min(i, lengths[b]!)]!])
    const past = lengths.map((length) => Math.min(i, length))
    const step = await model.step({
      tokens: model.rows(tokens),
      cache,
      lengths: ints(past),
      at: ints(past.map(() => 0)),
    })
    cache = step.cache
  }
  return cache
}

type Case = readonly [what: string, rows: readonly number[][], lengths: readonly number[]]
const chunks: readonly Case[] = [
  ['one row without a past', [row(5)], [0]],
  ['one row, one token', [row(4)], [3]],
  ['one row, several tokens', [row(7)], [3]],
  ['rows without a past', [row(5, 1), row(5, 2)], [0, 0]],
  ['rows of one length, one token', [row(4, 1), row(4, 2)], [3, 3]],
  ['rows of unequal lengths, one token', [row(4, 1), row(6, 2)], [3, 5]],
  ['a row without a past beside one with, one token', [row(1, 1), row(6, 2)], [0, 5]],
  ['rows of one length, several tokens', [row(7, 1), row(7, 2)], [3, 3]],
  ['rows of unequal lengths, several tokens', [row(6, 1), row(8, 2)], [3, 5]],
  ['a row without a past beside one with, several tokens', [row(3, 1), row(8, 2)], [0, 5]],
  ['three rows, the longest first', [row(12, 1), row(4, 2), row(7, 3)], [9, 1, 4]],
]
const several = (lengths: readonly number[], time: number): boolean =>
  lengths.length > 1 && time > 1 && lengths.some((length) => length > 0)

describe.each<Name>([...names, ...rotating])('%s', (name) => {
  const model = open(name)
  const { vocab, layers } = model.spec
  const isFused = fusedModels.includes(name)

  it(
    isFused ? 'uses the fused operator in every layer' : 'has heads that the fused operator cannot rotate',
    () => {
      expect(fusedCount(model)).toBe(isFused ? layers : 0)
      expect(fusedCount(model, [], true)).toBe(0)
    },
  )

  if (isFused)
    it('opens only the layer whose inside is read', () => {
      expect(fusedCount(model, ['blocks.1.attn.hook_pattern'])).toBe(layers - 1)
      expect(fusedCount(model, ['blocks.0.attn.hook_q', 'blocks.1.attn.hook_z'])).toBe(layers)
    })

  it.each(chunks)('goes on as from the start: %s', async (_, rows, lengths) => {
    const time = rows[0]!.length - lengths[0]!
    const input = async (): Promise<StepInput> => ({
      tokens: model.rows(rows.map((tokens, b) => tokens.slice(lengths[b]))),
      cache: await filled(model, rows, lengths),
      lengths: ints(lengths),
      at: ints(rows.map(() => time - 1)),
    })
    const whole: number[] = []
    for (const tokens of rows) whole.push(...floats((await model.run([tokens])).logits).slice(-vocab))
    const own = await model.step(await input())
    allClose(floats(own.logits), whole, { ...rounding, name: 'logits' })

    // Both forms, whichever `step` has chosen: equal logits, and equal caches as far as they are filled.
    const { step, chunkStep } = model.programs({})
    const composed = await chunkStep(await input())
    allClose(floats(composed.logits), whole, { ...rounding, name: 'composed' })
    if (several(lengths, time) && isFused) return
    const fused = await step(await input())
    allClose(floats(fused.logits), floats(composed.logits), { ...rounding, name: 'fused' })
    const { headSize } = model.spec.attention!
    for (const kind of ['keys', 'values'] as const)
      fused.cache.forEach((layer, i) => {
        const [, heads, capacity] = (layer as AttentionCache)[kind].sizes as [number, number, number, number]
        const inside = (at: number): boolean => {
          const position = Math.floor(at / headSize) % capacity
          return position < rows[Math.floor(at / (heads * capacity * headSize))]!.length
        }
        const [own, expected] = [layer, composed.cache[i]!].map((each) =>
          floats((each as AttentionCache)[kind]),
        )
        allClose(own!, expected!, { ...rounding, name: `${kind} ${i}`, where: inside })
      })
  })

  it('refuses more tokens than the cache has room for', async () => {
    for (const [length, time] of [
      [6, 4],
      [8, 1],
      [0, 9],
    ] as const) {
      const tokens = row(length + time)
      const cache = await filled(model, [tokens], [length], 8)
      const input = {
        tokens: model.rows([tokens.slice(length)]),
        cache,
        lengths: ints([length]),
        at: ints([0]),
      }
      await expect(model.step(input), `${length} + ${time} of 8`).rejects.toThrow()
    }
  })
})

describe('the fused operator', () => {
  // ONNX Runtime 1.30. When this passes one day, `chunkStep` in model.ts is no longer needed.
  it.each(chunks.filter(([, rows, lengths]) => several(lengths, rows[0]!.length - lengths[0]!)))(
    'does not take %s',
    async (_, rows, lengths) => {
      const model = open('llama-tiny-16')
      const step = model.programs({}).step({
        tokens: model.rows(rows.map((tokens, b) => tokens.slice(lengths[b]))),
        cache: await filled(model, rows, lengths),
        lengths: ints(lengths),
        at: ints(lengths.map(() => 0)),
      })
      await expect(step).rejects.toThrow(
        'batch_size must be 1 when sequence_length > 1 and past context is given',
      )
    },
  )
})

describe.each(rotating)('%s', (name) => {
  it('gives the logits of the reference', async () => {
    const reference = readReference(fixture(name.split(',')[0]!))
    const { data, shape } = reference.get('tokens')!
    const { logits } = await open(name).run(tensor(data as Int32Array, shape))
    allClose(floats(logits), reference.get('logits')!.data, { ...tolerance.f32, name: 'logits' })
  })

  it('would not, were its pairs read as halves', async () => {
    const model = open(name)
    const position = { kind: 'rotary' as const, base: 10000, interleaved: false }
    const wrong = new Model({ engine, spec: { ...model.spec, position }, params: model.params })
    const [a, b] = [floats((await model.run([row(9)])).logits), floats((await wrong.run([row(9)])).logits)]
    expect(a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)).toBeGreaterThan(0.01)
  })
})
