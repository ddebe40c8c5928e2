import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { leaves, random, tensor } from '../../src/array/index.ts'
import {
  agreement,
  blocksAt,
  earlyExit,
  type Lens,
  LensReader,
  LensReading,
  logitLens,
  r2,
  readLens,
  shortcut,
  shortcutLens,
  streamMoments,
  streamSites,
  toLast,
  trainTunedLens,
  writeLens,
} from '../../src/interp/index.ts'
import { tunedLensTrainer } from '../../src/interp/tunedLens.ts'
import { Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'
import { linearModel, product } from './planted.ts'

interface Golden {
  tokens: number[][]
  logitLens: Record<
    'first' | 'probability' | 'entropy' | 'divergence' | 'surprisal' | 'crossEntropy' | 'rank',
    number[][]
  >
  tunedLens: {
    rate: number
    momentum: number
    decay: number
    batches: number[][][]
    losses: number[][]
    norms: number[]
    weights: number[][]
    biases: number[][]
  }
  shortcuts: {
    learned: number[]
    heldOut: number[]
    length: number
    pairs: { from: number; to: number; rows: number[]; norm: number; r2: number; r2Identity: number }[]
  }
}
const golden = JSON.parse(readFileSync(fixture('interp.json'), 'utf8')) as Record<string, Golden>

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const folder = mkdtempSync(join(tmpdir(), 'glossa-lens-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe.each(['gpt2-tiny', 'llama-tiny'])('%s', (name) => {
  const model = Model.open(fixture(name), engine)
  const { tokens, logitLens: expected, tunedLens, shortcuts } = golden[name]!
  const { width, layers, vocab } = model.spec

  it('the logit lens is that of the reference, at every layer', async () => {
    using reader = new LensReader(model)
    const reading = await reader.read(tokens)
    const time = tokens[0]!.length
    for (let blocks = 0; blocks <= layers; blocks++) {
      const cells = tokens.flatMap((_, row) =>
        Array.from({ length: time }, (_, t) => reading.cell(blocks, row * time + t)),
      )
      const inner = cells.filter((_, i) => (i + 1) % time !== 0)
      expect(cells.map(({ top }) => top[0]!.id)).toEqual(expected.first[blocks])
      expect(inner.map(({ rank }) => rank)).toEqual(expected.rank[blocks])
      const close = (actual: number[], of: keyof typeof expected): void =>
        allClose(actual, expected[of][blocks]!, { ...tolerance.f32, name: `${of} after ${blocks}` })
      close(
        cells.map(({ top }) => top[0]!.probability),
        'probability',
      )
      for (const column of ['entropy', 'divergence', 'surprisal'] as const)
        close(
          cells.map((cell) => cell[column]),
          column,
        )
      close(
        inner.map((cell) => cell.crossEntropy!),
        'crossEntropy',
      )
      // What comes after the end of a row is not known.
      expect([cells.at(-1)!.rank, cells[time - 1]!.crossEntropy]).toEqual([undefined, undefined])
    }
    expect(() => reading.cell(layers + 1, 0)).toThrow(`0 to ${layers} blocks`)
  })

  it('at the last layer it is the model itself, bit for bit', async () => {
    using reader = new LensReader(model, logitLens, { top: vocab })
    const reading = await reader.read(tokens)
    const { logits } = await model.run(tokens)
    for (let position = 0; position < reading.tokens.length; position++) {
      const own = (logits!.data as Float32Array).subarray(position * vocab, (position + 1) * vocab)
      const best = own.reduce((best, x, id) => (x > own[best]! ? id : best), 0)
      const { top, divergence } = reading.cell(layers, position)
      expect(top[0]!.id).toBe(best)
      expect(divergence).toBe(0)
      for (const { id, probability } of top)
        expect(Math.log(probability / top[0]!.probability)).toBeCloseTo(own[id]! - own[best]!, 3)
    }
  })

  it('a sealed model reads the same', async () => {
    using reader = new LensReader(seal(model))
    using open = new LensReader(model)
    const [a, b] = [await reader.read(tokens), await open.read(tokens)]
    for (let blocks = 0; blocks <= layers; blocks++)
      allClose(a.columns[blocks]!.entropy, b.columns[blocks]!.entropy, tolerance.f32)
  })

  it('steps of the tuned lens are those of PyTorch', async () => {
    const { batches, losses, norms, weights, biases, ...options } = tunedLens
    const rows = batches.map((batch) =>
      tensor(Int32Array.from(batch.flat()), [batch.length, batch[0]!.length]),
    )
    for (const of of [model, seal(model)]) {
      using trainer = tunedLensTrainer(
        of,
        { at: (i) => ({ tokens: rows[i]! }) },
        { ...options, steps: rows.length },
      )
      for (const [i, each] of losses.entries()) {
        const report = await trainer.next()
        expect(report.gradientNorm).toBeCloseTo(norms[i]!, 4)
        allClose(
          each.map((_, layer) => report.metrics[`after ${layer}`]!),
          each,
          tolerance.f32,
        )
      }
      trainer.params.forEach(({ weight, bias }, layer) => {
        const own = weight.data as Float32Array
        // Updates are of the size 1e-2: what is off by more than rounding shows.
        allClose(own.subarray(0, 2 * width), weights[layer]!, { rtol: 1e-4, atol: 2e-6 })
        allClose(bias!.data as Float32Array, biases[layer]!, { rtol: 1e-4, atol: 2e-6 })
      })
    }
  })

  it('shortcuts are the least squares of the streams', async () => {
    const { learned, heldOut, length, pairs } = shortcuts
    const all = pairs.map(({ from, to }) => [from, to] as const)
    const moments = (ids: number[]) => streamMoments(model, Int32Array.from(ids), all, { batch: 4, length })
    const [fitted, other] = [await moments(learned), await moments(heldOut)]
    expect(fitted.count).toBe(160)
    for (const { from, to, rows, norm, r2: score, r2Identity } of pairs) {
      const weight = shortcut(fitted, [from, to])
      // Float32 streams against float64, through a condition number of some hundreds.
      allClose(weight.subarray(0, 2 * width), rows, { rtol: 2e-3, atol: 2e-3 })
      expect(Math.hypot(...weight) / norm).toBeCloseTo(1, 3)
      expect(r2(other, [from, to], weight)).toBeCloseTo(score, 3)
      expect(r2(other, [from, to])).toBeCloseTo(r2Identity, 3)
    }
    expect(() => fitted.product([1, 0])).toThrow('were not collected; there are: 0,0')
  })

  it('a lens is saved and loaded, and refused by another model', async () => {
    const lens = shortcutLens(
      await streamMoments(model, Int32Array.from(shortcuts.learned), toLast(layers), { length: 16 }),
      layers,
    )
    const tuned: Lens = {
      kind: 'tuned',
      translators: lens.translators!.map(({ weight }) => ({
        weight,
        bias: tensor(Float32Array.from({ length: width }, (_, i) => i)),
      })),
    }
    for (const one of [lens, tuned]) {
      const path = join(folder, `${name}-${one.kind}`)
      writeLens(path, one, model)
      const again = readLens(path, model)
      expect(again.kind).toBe(one.kind)
      const numbers = (of: Lens) => leaves(of.translators).map(([at, leaf]) => [at, leaf.data])
      expect(numbers(again)).toEqual(numbers(one))
      const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8')) as Record<string, unknown>
      expect(config).toMatchObject({ d_model: width, num_hidden_layers: layers, bias: one.kind === 'tuned' })
      expect(() => readLens(path, { ...model, spec: { ...model.spec, layers: 9 }, path: 'other' })).toThrow(
        `is a lens for ${layers} layers of width ${width}`,
      )
    }
    expect(() => writeLens(join(folder, 'none'), logitLens, model)).toThrow('nothing to write')
  })
})

describe('files that are no lens', () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  it('are refused by name', () => {
    expect(() => readLens(join(folder, 'nowhere'), model)).toThrow('config.json: missing; a lens is a folder')
    const path = mkdtempSync(join(folder, 'bad-'))
    writeFileSync(join(path, 'config.json'), '{"d_model": 32}')
    expect(() => readLens(path, model)).toThrow(/config.json: is no lens/)
    const config = { base_model_name_or_path: 'x', d_model: 32, num_hidden_layers: 3 }
    writeFileSync(join(path, 'config.json'), JSON.stringify(config))
    writeFileSync(join(path, 'params.pt'), '')
    expect(() => readLens(path, model)).toThrow('params.pt is a pickle, which Python turns into it')
    // What somebody has in a folder is not thrown away.
    writeFileSync(join(path, 'notes.txt'), 'mine')
    expect(() => writeLens(path, { kind: 'shortcut', translators: identities(3, 32) }, model)).toThrow(
      'notes.txt',
    )
  })
})

const identities = (layers: number, width: number) =>
  Array.from({ length: layers }, () => ({
    weight: tensor(
      Float32Array.from({ length: width * width }, (_, i) => Number(i % (width + 1) === 0)),
      [width, width],
    ),
  }))

describe('a model whose blocks are linear maps', () => {
  const planted = linearModel(engine)
  const { model, maps, width, layers, vocab } = planted
  const next = random.generator(1)
  const draw = (count: number) => Int32Array.from({ length: count }, () => Math.floor(next() * vocab))
  /** From the stream after `from` blocks to the last. */
  const true_ = (from: number, to = layers) =>
    maps.slice(from, to).reduce((all, map) => product(map, all, width), identity)
  const identity = Float64Array.from({ length: width * width }, (_, i) => Number(i % (width + 1) === 0))

  it('shortcuts recover the maps, and explain everything', async () => {
    const pairs = [...toLast(layers), [1, 2] as const]
    const moments = await streamMoments(model, draw(2000), pairs)
    for (const pair of pairs) {
      const weight = shortcut(moments, pair)
      allClose(weight, true_(...pair), { rtol: 1e-4, atol: 1e-4 })
      expect(r2(moments, pair, weight)).toBeCloseTo(1, 8)
      expect(r2(moments, pair)).toBeLessThan(0.95)
    }
  })

  it('and read what the model says at every layer, where the logit lens does not', async () => {
    const lens = shortcutLens(await streamMoments(model, draw(2000), toLast(layers)), layers)
    const rows = [Array.from(draw(40))]
    using reader = new LensReader(model, lens, { top: 10 })
    using plain = new LensReader(model, logitLens, { top: 10 })
    const [reading, other] = [await reader.read(rows), await plain.read(rows)]
    for (let blocks = 0; blocks < layers; blocks++) {
      expect(Math.max(...reading.columns[blocks]!.divergence)).toBeLessThan(1e-4)
      expect(Math.max(...other.columns[blocks]!.divergence)).toBeGreaterThan(0.1)
    }
    expect(agreement(reading)[0]!.precision).toEqual({ 1: 1, 5: 1, 10: 1 })
    // So that every token exits after the first block.
    expect(blocksAt(reading, 0.95)).toBe(1)
    expect(blocksAt(other, 0.95)).toBeGreaterThan(1)
  })

  it('the tuned lens converges to them', async () => {
    const lens = await trainTunedLens(model, draw(20_000), {
      steps: 800,
      batch: 16,
      length: 32,
      rate: 0.2,
      momentum: 0.95,
      decay: 0,
    })
    const rows = [Array.from(draw(40))]
    using reader = new LensReader(model, lens)
    const reading = await reader.read(rows)
    for (let blocks = 0; blocks < layers; blocks++) {
      const { divergence } = reading.columns[blocks]!
      expect(divergence.reduce((a, b) => a + b) / divergence.length).toBeLessThan(1e-5)
      const wanted = true_(blocks).map((x, i) => x - identity[i]!)
      const found = lens.translators![blocks]!.weight.data as Float32Array
      const distance = Math.hypot(...wanted.map((x, i) => x - found[i]!)) / Math.hypot(...wanted)
      expect(distance).toBeLessThan(0.03)
    }
  }, 120_000)
})

describe('early exit', () => {
  /** Two layers; the lens is right after one block at position 0 alone, and sure of it by 0.5. */
  const reading = (): LensReading => {
    const made = new LensReading('logit', Int32Array.of(0, 0), 2, 2, 2)
    made.ids[0]!.set([8, 9, 8, 9])
    made.ids[1]!.set([1, 2, 7, 3])
    made.ids[2]!.set([1, 2, 3, 4])
    made.probabilities[1]!.set([0.7, 0.2, 0.6, 0.3])
    return made
  }
  it('exits where the lens is surer than the threshold', () => {
    // Thresholds at positions 0 and 1 of 2: 0.9 λ + 0.1 and 0.9 λ + 0.1 e^-2.
    expect(earlyExit(reading(), 0.4)).toEqual({ blocks: 1.5, agreement: 1 })
    expect(earlyExit(reading(), 0.32)).toEqual({ blocks: 1.5, agreement: 1 })
    expect(earlyExit(reading(), 0.32, { meanLength: 1 })).toEqual({ blocks: 1, agreement: 0.5 })
    expect(earlyExit(reading(), 0.5)).toEqual({ blocks: 2, agreement: 1 })
    expect(earlyExit(reading(), -2, { minimum: 0 })).toEqual({ blocks: 0, agreement: 0 })
    expect(blocksAt(reading(), 0.95)).toBe(1.5)
    expect(blocksAt(reading(), 0.5)).toBe(1)
  })
  it('counts where the first token is among the first', () => {
    expect(agreement(reading(), [1, 2]).map(({ precision }) => precision)).toEqual([
      { 1: 0, 2: 0 },
      { 1: 0.5, 2: 0.5 },
      { 1: 1, 2: 1 },
    ])
    expect(() => agreement(reading())).toThrow('read with top: 10')
  })
})

it('streams are read between the blocks', () => {
  expect(streamSites({ layers: 2 } as never)).toEqual([
    'blocks.0.hook_resid_pre',
    'blocks.1.hook_resid_pre',
    'blocks.1.hook_resid_post',
  ])
})
