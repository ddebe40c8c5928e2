import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { mapTree, tensor } from '../../src/array/index.ts'
import {
  attentionPatterns,
  attribute,
  headScores,
  Patcher,
  patchGrid,
  repetitionScores,
} from '../../src/interp/index.ts'
import { Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { initialize } from '../../src/train/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'
import { inductionModel } from './planted.ts'

interface Grid {
  direction: 'denoising' | 'noising'
  site: string
  by: 'position' | 'head' | 'head-position'
  difference: number[]
  probability: number[]
  divergence: number[]
}
interface Golden {
  patches: { clean: number[]; corrupt: number[]; answer: number; wrong: number; grids: Grid[] }
}
const golden = JSON.parse(readFileSync(fixture('interp.json'), 'utf8')) as Record<string, Golden>

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

describe.each(['gpt2-tiny', 'llama-tiny'])('%s', (name) => {
  const model = Model.open(fixture(name), engine)
  const { grids, ...prompts } = golden[name]!.patches

  it.each(grids)('$direction at $site by $by is that of the reference', async (expected) => {
    const { direction, site, by } = expected
    using patcher = new Patcher(model, { site, by })
    // More cells than a batch holds, so that there is a rest.
    const grid = await patcher.patch(prompts, { direction, batch: 4 })
    expect(grid.cells).toHaveLength(expected.difference.length)
    for (const metric of ['difference', 'probability', 'divergence'] as const)
      allClose(
        grid.cells.map((cell) => cell[metric]),
        expected[metric],
        { ...tolerance.f32, name: metric },
      )
    // Whatever the cell, the batch and the prompts: one program.
    await patcher.patch({
      ...prompts,
      clean: prompts.clean.slice(0, 3),
      corrupt: prompts.corrupt.slice(0, 3),
    })
    expect(patcher.compilations).toBe(1)
  })

  it('a sealed model is patched too', async () => {
    const [a, b] = [await patchGrid(seal(model), prompts), await patchGrid(model, prompts)]
    allClose(
      a.cells.map(({ difference }) => difference),
      b.cells.map(({ difference }) => difference),
      tolerance.f32,
    )
  })

  it('refuses what has no places', async () => {
    const patch = (changes: object, options = {}) => patchGrid(model, { ...prompts, ...changes }, options)
    await expect(patch({ clean: [1, 2] })).rejects.toThrow('2 tokens and the corrupted one 5')
    await expect(patch({ answer: 4000 })).rejects.toThrow('outside the vocabulary')
    await expect(patch({}, { site: 'hook_nothing' })).rejects.toThrow(
      "no site 'hook_nothing' in its blocks; there are: hook_resid_pre",
    )
    await expect(patch({}, { site: 'hook_mlp_out', by: 'head' })).rejects.toThrow('has no heads')
    await expect(patch({}, { site: 'logits' })).rejects.toThrow('cannot be patched')
    const stopped = AbortSignal.abort(new Error('stopped'))
    await expect(patch({}, { signal: stopped })).rejects.toThrow('stopped')
  })
})

describe('a planted induction circuit', () => {
  const model = inductionModel(engine)
  /** A beginning, A B x y z A: what came behind A is B. */
  const clean = [0, 1, 2, 3, 4, 5, 1]
  const cells = async (
    corrupt: number[],
    site: string,
    by: 'position' | 'head' | 'head-position',
    direction: Grid['direction'] = 'denoising',
  ) => {
    const grid = await patchGrid(model, { clean, corrupt, answer: 2, wrong: 7 }, { site, by, direction })
    return {
      ...grid,
      found: grid.cells
        .filter(({ restored }) => restored > 0.5)
        .map(({ layer, head, position }) => ({ layer, head, position })),
      grid,
    }
  }

  it('works', async () => {
    const { clean: own, corrupt } = await cells([0, 1, 7, 3, 4, 5, 1], 'hook_resid_pre', 'position')
    expect(own.probability).toBeGreaterThan(0.9)
    expect(own.difference).toBeGreaterThan(7)
    expect(corrupt.difference).toBeLessThan(-7)
  })

  it('another B: the token itself, then the last position, through head 0 of layer 1', async () => {
    const corrupt = [0, 1, 7, 3, 4, 5, 1]
    const streams = await cells(corrupt, 'hook_resid_pre', 'position')
    expect(streams.found).toEqual([
      { layer: 0, position: 2 },
      { layer: 1, position: 2 },
    ])
    // All else restores nothing, and these everything.
    for (const { restored } of streams.cells)
      expect(Math.abs(restored - Math.round(restored))).toBeLessThan(0.02)
    expect((await cells(corrupt, 'hook_resid_post', 'position')).found).toEqual([
      { layer: 0, position: 2 },
      { layer: 1, position: 6 },
    ])
    expect((await cells(corrupt, 'attn.hook_z', 'head')).found).toEqual([{ layer: 1, head: 0 }])
    expect((await cells(corrupt, 'attn.hook_v', 'head-position')).found).toEqual([
      { layer: 1, head: 0, position: 2 },
    ])
    // Where it looks does not change.
    expect((await cells(corrupt, 'attn.hook_pattern', 'head')).found).toEqual([])
  })

  it('another A: head 1 of layer 0 at position 2, and where head 0 of layer 1 looks', async () => {
    const corrupt = [0, 9, 2, 3, 4, 5, 1]
    expect((await cells(corrupt, 'attn.hook_z', 'head-position')).found).toEqual([
      { layer: 0, head: 1, position: 2 },
      { layer: 1, head: 0, position: 6 },
    ])
    expect((await cells(corrupt, 'attn.hook_k', 'head-position')).found).toEqual([
      { layer: 1, head: 0, position: 2 },
    ])
    expect((await cells(corrupt, 'attn.hook_pattern', 'head')).found).toEqual([{ layer: 1, head: 0 }])
    expect((await cells(corrupt, 'hook_embed', 'position')).found).toEqual([{ layer: 0, position: 1 }])
  })

  it('noising breaks it in the same places', async () => {
    for (const [corrupt, site, by] of [
      [[0, 1, 7, 3, 4, 5, 1], 'hook_resid_pre', 'position'],
      [[0, 9, 2, 3, 4, 5, 1], 'attn.hook_z', 'head-position'],
    ] as const) {
      const [back, forth] = [
        await cells([...corrupt], site, by),
        await cells([...corrupt], site, by, 'noising'),
      ]
      back.cells.forEach(({ restored }, i) => {
        expect(forth.cells[i]!.restored).toBeCloseTo(1 - restored, 1)
      })
    }
  })

  it('its heads are what they are known as', async () => {
    const scores = await repetitionScores(model, { period: 8, rows: 64 })
    const by = (layer: number, head: number) =>
      scores.find((one) => one.layer === layer && one.head === head)!
    expect(by(0, 1).previous).toBeGreaterThan(0.99)
    expect(by(0, 1).entropy).toBeLessThan(0.05)
    // Of 8 tokens of 24 some come twice, which it cannot tell apart.
    expect(by(1, 0).induction).toBeGreaterThan(0.7)
    expect(by(1, 0).duplicate).toBeLessThan(0.1)
    for (const [layer, head] of [
      [0, 0],
      [1, 1],
    ] as const) {
      // A head without queries looks at all it sees alike.
      expect(by(layer, head).previous).toBeLessThan(0.3)
      expect(by(layer, head).induction).toBeLessThan(0.2)
      const even = Array.from({ length: 16 }, (_, t) => Math.log(t + 1)).reduce((a, b) => a + b) / 16
      expect(by(layer, head).entropy).toBeCloseTo(even, 4)
      expect(by(layer, head).first).toBeCloseTo(
        Array.from({ length: 15 }, (_, t) => 1 / (t + 2)).reduce((a, b) => a + b) / 15,
        4,
      )
      expect(by(layer, head).current).toBeCloseTo(
        Array.from({ length: 16 }, (_, t) => 1 / (t + 1)).reduce((a, b) => a + b) / 16,
        4,
      )
    }
  })

  it('patterns show it', async () => {
    const patterns = await attentionPatterns(model, clean)
    const { pattern } = patterns.find(({ layer, head }) => layer === 1 && head === 0)!
    expect(pattern[6 * 7 + 2]).toBeGreaterThan(0.99)
    expect(patterns).toHaveLength(4)
  })

  it('the logit comes from head 0 of layer 1 alone', async () => {
    const { contributions, logits } = await attribute(model, clean, {
      targets: new Array(7).fill(2),
      against: new Array(7).fill(7),
    })
    for (const { part, layer, head, values } of contributions) {
      const all = part === 'head' && layer === 1 && head === 0
      expect(values[6]).toBeCloseTo(all ? logits[6]! : 0, 4)
    }
    expect(logits[6]).toBeGreaterThan(7)
  })
})

describe('direct logit attribution', () => {
  const sums = async (model: Model, ids: number[], options = {}) => {
    const found = await attribute(model, ids, options)
    const { logits } = await model.run([ids])
    const vocab = model.spec.vocab
    const { logitSoftcap: cap } = model.spec
    const logitOf = (t: number, id: number): number => {
      const logit = logits!.data[t * vocab + id] as number
      // Before the cap.
      return cap === undefined ? logit : cap * Math.atanh(logit / cap)
    }
    const expected = ids.map(
      (_, t) =>
        logitOf(t, found.targets[t]!) - (found.against ? logitOf(t, found.against[t]!) : 0) - found.bias[t]!,
    )
    const sum = ids.map((_, t) => found.contributions.reduce((all, { values }) => all + values[t]!, 0))
    allClose(sum, expected, { rtol: 1e-4, atol: 1e-4 })
    return found
  }

  it.each(['gpt2-tiny', 'llama-tiny'])('%s: parts add up to the logit minus biases', async (name) => {
    const model = Model.open(fixture(name), engine)
    const ids = [3, 17, 42, 8, 5]
    const found = await sums(model, ids)
    expect(found.targets.slice(0, 4)).toEqual(ids.slice(1))
    await sums(model, ids, { targets: [1, 2, 3, 4, 5], against: [6, 7, 8, 9, 10] })
    const parts = new Set(found.contributions.map(({ part }) => part))
    expect(parts).toEqual(
      new Set(
        name === 'gpt2-tiny'
          ? ['embedding', 'positions', 'head', 'mlp', 'attention bias']
          : ['embedding', 'head', 'mlp'],
      ),
    )
    const bias = Math.max(...found.bias.map(Math.abs))
    if (name === 'gpt2-tiny') expect(bias).toBeGreaterThan(0.01)
    else expect(bias).toBeLessThan(1e-5)
    const whole = await sums(seal(model), ids)
    expect(whole.contributions).toHaveLength(found.contributions.length)
    await expect(attribute(model, ids, { targets: [1] })).rejects.toThrow('1 tokens for 5 positions')
  })

  it('with norms behind the parts, parallel parts, biases, and a soft cap', async () => {
    const common = {
      vocab: 40,
      width: 16,
      layers: 2,
      context: 16,
      position: { kind: 'rotary', base: 10000, interleaved: false },
      attention: { heads: 2, keyValueHeads: 1, headSize: 8 },
      ffn: { kind: 'gated', hidden: 24, activation: 'silu' },
      layout: 'out-in',
    } as const
    const specs = [
      { ...common, norm: { kind: 'rms', epsilon: 1e-6, offset: 1, place: 'both' }, logitSoftcap: 30 },
      { ...common, norm: { kind: 'rms', epsilon: 1e-6, place: 'after' } },
      { ...common, norm: { kind: 'layer', epsilon: 1e-5 }, parallel: 'one norm' },
      { ...common, norm: { kind: 'layer', epsilon: 1e-5, place: 'both' } },
    ] as const
    for (const spec of specs) {
      const params = initialize(spec, {
        deviation: 0.3,
        seed: 2,
        tied: false,
        bias: spec.norm.kind === 'layer',
      })
      const random = nudged(params)
      await sums(new Model({ engine, spec, params: random, path: 'made' }), [1, 2, 3, 4, 5])
    }
    const [spec] = specs
    const sum = { ...spec, norm: { kind: 'layer', epsilon: 1e-5, place: 'sum' } } as const
    const model = new Model({ engine, spec: sum, params: initialize(sum), path: 'made' })
    await expect(attribute(model, [1, 2])).rejects.toThrow('normalises each sum')
  })
})

/** Biases and norms that are not 0 and 1, so that it shows where one is left out. */
function nudged<T>(tree: T): T {
  let at = 0
  return mapTree(tree, (leaf) =>
    leaf.rank === 1
      ? tensor(
          Float32Array.from(leaf.data as Float32Array, (x) => x + 0.3 * Math.sin(at++)),
          leaf.sizes,
        )
      : leaf,
  ) as T
}

it('scores of heads on text', async () => {
  const model = Model.open(fixture('llama-tiny'), engine)
  const rows = [
    [3, 17, 42, 8],
    [5, 6, 7, 9],
  ]
  const scores = await headScores(model, rows)
  const { layer, head, ...own } = scores[5]!
  const patterns = await Promise.all(
    rows.map(
      async (row) =>
        (await attentionPatterns(model, row)).find((one) => one.layer === layer && one.head === head)!
          .pattern,
    ),
  )
  const mean = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0) / numbers.length
  const over = (from: number, f: (pattern: Float32Array, t: number) => number) =>
    mean(patterns.flatMap((pattern) => Array.from({ length: 4 - from }, (_, i) => f(pattern, i + from))))
  expect(own.previous).toBeCloseTo(
    over(1, (p, t) => p[t * 4 + t - 1]!),
    5,
  )
  expect(own.current).toBeCloseTo(
    over(0, (p, t) => p[t * 4 + t]!),
    5,
  )
  expect(own.first).toBeCloseTo(
    over(1, (p, t) => p[t * 4]!),
    5,
  )
  const entropy = (row: Float32Array): number =>
    row.reduce((sum, x) => (x > 0 ? sum - x * Math.log(x) : sum), 0)
  expect(own.entropy).toBeCloseTo(
    over(0, (p, t) => entropy(p.subarray(t * 4, t * 4 + 4))),
    5,
  )
})
