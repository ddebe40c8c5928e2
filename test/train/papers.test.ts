/** Methods of papers against PyTorch (test/fixtures/papers.py), worked examples, and the strength that changes nothing. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, type Tensor, tensor } from '../../src/array/index.ts'
import { haarAverages, waveletGpt, windowCounts } from '../../src/model/architectures/waveletGpt.ts'
import { type DecoderParams, load, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { cosines, neuronTrainable, randomNeurons, turnedNeurons } from '../../src/train/adapters/neft.ts'
import {
  adamw,
  meap,
  nextToken,
  type Objective,
  patchLevel,
  type TokenBatch,
  Trainer,
  wholly,
} from '../../src/train/index.ts'
import { fixture } from '../reference.ts'

const golden = JSON.parse(readFileSync(join(fixture('.'), 'papers.json'), 'utf8')) as {
  readonly tokens: readonly (readonly number[])[]
  readonly patchLevel: { readonly patch: number; readonly loss: number; readonly norm: number }
  readonly waveletGpt: {
    readonly share: number
    readonly largest: number
    readonly loss: number
    readonly norm: number
  }
}

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const { spec, params } = load(fixture('llama-tiny'))
const tokens = tensor(Int32Array.from(golden.tokens.flat()), [golden.tokens.length, golden.tokens[0]!.length])
const batches = { at: () => ({ tokens }) }
const trainerOf = (objective: Objective<DecoderParams, TokenBatch>, seed = 0) =>
  new Trainer({
    engine,
    model: wholly(params),
    objective,
    batches,
    optimizer: adamw({ weightDecay: 0.1 }),
    rate: () => 1e-3,
    seed,
  })

/** Three steps of training: what was reported, and the parameters. */
async function learn(objective: Objective<DecoderParams, TokenBatch>) {
  using trainer = trainerOf(objective)
  const reports = [await trainer.next(), await trainer.next(), await trainer.next()]
  return {
    losses: reports.map(({ loss }) => loss),
    norms: reports.map((r) => r.gradientNorm),
    params: bits(trainer.params),
  }
}
const bits = (tree: unknown): Record<string, number[]> =>
  Object.fromEntries(leaves(tree).map(([path, leaf]) => [path, Array.from(leaf.data as Float32Array)]))

describe('patch-level training', () => {
  it("has PyTorch's loss and gradient", async () => {
    const { patch, loss, norm } = golden.patchLevel
    using trainer = trainerOf(patchLevel(spec, { patch }))
    const report = await trainer.next()
    expect(report.loss).toBeCloseTo(loss, 4)
    expect(report.gradientNorm / norm).toBeCloseTo(1, 4)
    // Three patches of four are predicted, of three tokens each, in three rows.
    expect(report.weight).toBe(27)
  })

  it('is next-token prediction to the bit for patches of one token', async () => {
    expect(await learn(patchLevel(spec, { patch: 1 }))).toEqual(await learn(nextToken(spec)))
  })

  it('refuses rows without two patches', async () => {
    using trainer = trainerOf(patchLevel(spec, { patch: 8 }))
    await expect(trainer.next()).rejects.toThrow(/rows of 14 tokens have no two patches of 8/)
  })
})

describe('MEAP', () => {
  it('is next-token prediction to the bit where nothing is hidden', async () => {
    expect(await learn(meap(spec, { share: 0, maskToken: 3 }))).toEqual(await learn(nextToken(spec)))
  })

  it('keeps the targets where everything is hidden', async () => {
    const inputs = tensor(new Int32Array(39).fill(3), [3, 13])
    using model = new Model({ engine, spec, params })
    const { logits } = await model.run(rowsOf(inputs))
    let sum = 0
    golden.tokens.forEach((row, r) => {
      row.slice(1).forEach((target, t) => {
        const start = (r * 13 + t) * spec.vocab
        const scores = Array.from((logits!.data as Float32Array).subarray(start, start + spec.vocab))
        sum += Math.log(scores.reduce((total, score) => total + Math.exp(score), 0)) - scores[target]!
      })
    })
    using trainer = trainerOf(meap(spec, { share: 1, maskToken: 3 }))
    expect((await trainer.next()).loss).toBeCloseTo(sum / 39, 4)
  })
})

const rowsOf = (x: Tensor): number[][] => {
  const [rows, columns] = x.sizes as [number, number]
  const data = Array.from(x.data as Int32Array)
  return Array.from({ length: rows }, (_, i) => data.slice(i * columns, (i + 1) * columns))
}

describe('WaveletGPT', () => {
  const options = { share: golden.waveletGpt.share, largest: golden.waveletGpt.largest }

  it('averages by windows of 1, 2 and 4', async () => {
    expect(windowCounts(3, 4)).toEqual([1, 1, 1])
    expect(windowCounts(64, 512).reduce((a, b) => a + b)).toBe(64)
    const x = tensor(Float32Array.from([1, 2, 3, 4, 5].flatMap((v) => [v, v, v, v * v])), [1, 5, 4])
    const y = await engine.compute(haarAverages(x, { share: 0.75, largest: 4 }))
    const column = (i: number): number[] => [0, 1, 2, 3, 4].map((t) => (y.data as Float32Array)[t * 4 + i]!)
    expect(column(0)).toEqual([1, 2, 3, 4, 5])
    expect(column(1)).toEqual([1, 2, 3, 4, 5])
    expect(column(2)).toEqual([1, 1.5, 2.5, 3.5, 4.5])
    // Squares: what is there of the first three, then four.
    expect(column(3)).toEqual([1, 2.5, Math.fround(14 / 3), 7.5, 13.5])
  })

  it("has PyTorch's loss and gradient", async () => {
    using trainer = trainerOf(nextToken(spec, { edit: waveletGpt(spec, options) }))
    const report = await trainer.next()
    expect(report.loss).toBeCloseTo(golden.waveletGpt.loss, 4)
    expect(report.gradientNorm / golden.waveletGpt.norm).toBeCloseTo(1, 4)
  })

  it.each([
    { share: 0.5, largest: 1 },
    { share: 0, largest: 8 },
  ])('is the identity with $share of the dimensions and windows up to $largest', async (nothing) => {
    expect(await learn(nextToken(spec, { edit: waveletGpt(spec, nothing) }))).toEqual(
      await learn(nextToken(spec)),
    )
  })

  it('runs in score, looks at nothing that comes later, and is refused with a cache', async () => {
    using model = new Model({ engine, spec, params })
    const edit = waveletGpt(spec, options)
    const row = [...golden.tokens[0]!]
    const whole = await model.score([row], { edit })
    const part = await model.score([row.slice(0, 9)], { edit })
    ;(part.data as Float32Array).forEach((value, i) => {
      expect((whole.data as Float32Array)[i]).toBeCloseTo(value, 5)
    })
    await expect(model.prepare({ edit })).rejects.toThrow(
      /the edit at 'blocks\.0\.hook_resid_post' cannot run with a cache: WaveletGPT averages over past activations/,
    )
  })
})

describe('NeFT', () => {
  it('measures the cosine of rows and of columns', () => {
    const a = tensor(Float32Array.from([1, 0, 3, 4]), [2, 2])
    const b = tensor(Float32Array.from([0, 2, 6, 8]), [2, 2])
    expect([...cosines(a, b, 0)]).toEqual([0, 1])
    const columns = cosines(a, b, 1)
    expect(columns[0]).toBeCloseTo(18 / Math.sqrt(10 * 36), 12)
    expect(columns[1]).toBeCloseTo(32 / Math.sqrt(16 * 68), 12)
  })

  it('finds the rows that were turned, not those that only grew', () => {
    const [before] = [params.blocks[0]!]
    const weight = (before.mlp as { up: { weight: Tensor } }).up.weight
    const [rows, width] = weight.sizes as [number, number]
    const data = Float32Array.from(weight.data as Float32Array)
    for (let j = 0; j < width; j++) {
      data[1 * width + j]! *= 3
      data[2 * width + j]! *= -1
    }
    const mlp = { ...before.mlp, up: { weight: tensor(data, [rows, width]) } }
    const after = { ...params, blocks: [{ ...before, mlp }, ...params.blocks.slice(1)] } as DecoderParams
    const found = turnedNeurons(spec, params, after, { share: 1e-9 })
    expect(found).toEqual({ 'blocks.0.mlp.up.weight': Int32Array.of(2) })
  })

  it.each([['llama-tiny'], ['gpt2-tiny']])(
    'leaves all other neurons of %s as they are to the bit',
    async (name) => {
      const { spec, params } = load(fixture(name))
      const before = bits(params)
      const neurons = randomNeurons(spec, params, { share: 0.1 }, 1)
      const total = Object.values(neurons).reduce((sum, rows) => sum + rows.length, 0)
      const axis = spec.layout === 'out-in' ? 0 : 1
      const all = leaves({ blocks: params.blocks }).filter(([, leaf]) => leaf.rank === 2)
      expect(total).toBe(Math.round(0.1 * all.reduce((sum, [, leaf]) => sum + leaf.sizes[axis]!, 0)))
      using trainer = new Trainer({
        engine,
        model: neuronTrainable(spec, params, neurons),
        objective: nextToken(spec),
        batches: {
          at: () => ({
            tokens: tensor(
              Int32Array.from(golden.tokens.flat(), (t) => t % spec.vocab),
              [3, 14],
            ),
          }),
        },
        optimizer: adamw({ weightDecay: 0.1, decays: 'all' }),
        rate: () => 1e-2,
      })
      await trainer.next()
      await trainer.next()
      const assembled = engine.jit((w: never, f: never) => trainer.options.model.assemble(w, f))
      const after = bits(await assembled(trainer.params as never, trainer.options.model.frozen as never))
      let changed = 0
      for (const [path, leaf] of leaves(params)) {
        const chosen = new Set(neurons[path] ?? [])
        const columns = leaf.sizes.at(-1)!
        const moved = new Set<number>()
        before[path]!.forEach((value, i) => {
          if (!Object.is(value, after[path]![i]))
            moved.add(axis === 0 ? Math.floor(i / columns) : i % columns)
        })
        for (const neuron of moved) expect(chosen.has(neuron), `${path} ${neuron}`).toBe(true)
        changed += moved.size
      }
      expect(changed).toBe(total)
    },
  )

  it('is full tuning of the matrices of the blocks when all neurons are chosen', async () => {
    const neurons = randomNeurons(spec, params, { share: 1 }, 1)
    const options = {
      engine,
      objective: nextToken(spec),
      batches,
      optimizer: adamw({ weightDecay: 0.1 }),
      rate: () => 1e-3,
    }
    using own = new Trainer({ ...options, model: neuronTrainable(spec, params, neurons) })
    const chosen = Object.fromEntries(leaves({ blocks: params.blocks }).filter(([, leaf]) => leaf.rank === 2))
    const whole = {
      params: chosen,
      frozen: params,
      assemble: (weights: typeof chosen, base: DecoderParams) => replaced(base, weights),
    }
    using full = new Trainer({ ...options, model: whole })
    for (let i = 0; i < 3; i++) expect((await own.next()).loss).toBe((await full.next()).loss)
    expect(bits(own.params)).toEqual(bits(full.params))
  })
})

/** A tree with other leaves at some paths. */
function replaced<T>(tree: T, others: Readonly<Record<string, Tensor>>, path = ''): T {
  if (others[path]) return others[path] as T
  if (Array.isArray(tree)) return tree.map((child, i) => replaced(child, others, `${path}.${i}`)) as T
  if (typeof tree !== 'object' || tree === null || 'dtype' in tree) return tree
  return Object.fromEntries(
    Object.entries(tree).map(([key, child]) => [key, replaced(child, others, path ? `${path}.${key}` : key)]),
  ) as T
}
