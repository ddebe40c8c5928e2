/** Planted features: what makes them active is known, so explanations and scores have a right answer. */
import { afterAll, describe, expect, test } from 'vitest'
import { random, tensor } from '../../src/array/index.ts'
import { ActivationSource } from '../../src/interp/activations/index.ts'
import {
  auroc,
  balancedAccuracy,
  bestThreshold,
  collectContexts,
  correlation,
  describeRule,
  examplesOf,
  explainerPrompt,
  Intervention,
  interventionScores,
  namedTokens,
  type PlacedRows,
  type Rule,
  RuleExplainer,
  rowsOfSource,
  ruleRater,
  saeReader,
  score,
  scoreContext,
  simulation,
  sparsifiedReader,
  textRater,
  thresholdReader,
} from '../../src/interp/sae/explain/index.ts'
import { encode, type Sae } from '../../src/interp/sae/sae.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { tinyCorpus, tinyModel } from './tiny.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const length = 16
const tokens = tinyCorpus(16 * 1200)
const half = 16 * 600
const parts = [tokens.subarray(0, half), tokens.subarray(half)] as const

/** What each planted feature is active on. */
const planted = [
  (all: Uint16Array, i: number) => all[i] === 7,
  (all: Uint16Array, i: number) => i % length > 0 && all[i - 1] === 11,
  (all: Uint16Array, i: number) => i % length < length - 1 && all[i + 1] === 5,
  (all: Uint16Array, i: number) =>
    all[i] === 9 && i % length > 0 && (all[i - 1] === 3 || all[i - 1] === 4 || all[i - 1] === 8),
  // By lot: there is nothing to find.
  (_: Uint16Array, i: number) => random.fold(i, 1) % 60 === 0,
]
const strength = (i: number): number => 1 + (random.fold(i, 2) % 100) / 100

function rowsOf(all: Uint16Array): PlacedRows {
  const chunk = 100
  return {
    chunks: Math.ceil(all.length / chunk),
    at: async (index) => {
      const places = Int32Array.from(
        { length: Math.min(chunk, all.length - index * chunk) },
        (_, i) => index * chunk + i,
      )
      const rows = Float32Array.from(places).length * planted.length
      const data = new Float32Array(rows)
      places.forEach((place, i) => {
        planted.forEach((is, j) => {
          data[i * planted.length + j] = is(all, place) ? strength(place) : 0
        })
      })
      return { rows: data, places }
    },
  }
}
const identity = { count: planted.length, read: async (rows: Float32Array) => rows }
const collect = (all: Uint16Array, more = {}) =>
  collectContexts({ rows: rowsOf(all), reader: identity, tokens: all, length, ...more })

describe('contexts', () => {
  test('counts, tops and densities are those of the whole corpus', async () => {
    const contexts = await collect(parts[0], { top: 5, sample: 30 })
    expect(contexts.count).toBe(600)
    expect(contexts.rows).toBe(half)
    for (const [feature, is] of planted.entries()) {
      const active = Array.from({ length: half }, (_, i) => i).filter((i) => is(parts[0], i))
      const found = contexts.of(feature)
      expect(found.density).toBeCloseTo(active.length / half, 12)
      const peaks = new Map<number, number>()
      for (const i of active) {
        const index = Math.floor(i / length)
        peaks.set(index, Math.max(peaks.get(index) ?? 0, Math.fround(strength(i))))
      }
      expect(found.contexts).toBe(peaks.size)
      const largest = [...peaks.values()].sort((a, b) => b - a).slice(0, 5)
      expect(found.top.map(({ activations }) => Math.max(...activations))).toEqual(largest)
      expect(found.largest).toBe(largest[0])
      for (const { tokens: own, index, activations } of [...found.top, ...found.sample]) {
        expect([...own]).toEqual([...parts[0].subarray(index * length, (index + 1) * length)])
        activations.forEach((value, at) => {
          expect(value > 0).toBe(is(parts[0], index * length + at))
        })
      }
      expect(new Set(found.sample.map(({ index }) => index)).size).toBe(Math.min(30, peaks.size))
      for (const [i, { tokens: own, active: has }] of contexts.background(feature).entries())
        expect(has, `context ${i}`).toBe(
          Array.from(own).some((_, at) => is(parts[0], own.byteOffset / 2 - parts[0].byteOffset / 2 + at)),
        )
    }
  })

  test('the sample is drawn from all alike: early and late contexts come as often', async () => {
    let [early, all] = [0, 0]
    for (let seed = 0; seed < 20; seed++) {
      const { sample } = (await collect(parts[0], { sample: 20, seed })).of(0)
      early += sample.filter(({ index }) => index < 300).length
      all += sample.length
    }
    expect(early / all).toBeGreaterThan(0.4)
    expect(early / all).toBeLessThan(0.6)
  })

  test('rows out of order are refused', async () => {
    const { at } = rowsOf(parts[0])
    const rows: PlacedRows = { chunks: 2, at: (i) => at(1 - i) }
    await expect(collectContexts({ rows, reader: identity, tokens: parts[0], length })).rejects.toThrow(
      'order',
    )
  })
})

describe('rules', () => {
  const decode = (token: number): string => `t${token}`

  test('find what was planted, and say it in words', async () => {
    const explainer = new RuleExplainer(await collect(parts[0]))
    const words = planted.map((_, feature) => describeRule(explainer.explain(feature)!, decode))
    expect(words[0]).toMatch(/^tokens "t7" \d+ %$/)
    expect(words[1]).toMatch(/^after "t11" \d+ %$/)
    expect(words[2]).toMatch(/^before "t5" \d+ %$/)
    expect(words[3]).toContain('tokens "t9"')
    expect(words[3]).toMatch(/after (?:"t[348]" \d+ %(?:, )?){3}$/)
  })

  test('held-out contexts: 1 for the right rule, 0.5 for that of another feature and for a feature by lot', async () => {
    const explainer = new RuleExplainer(await collect(parts[0]))
    const heldOut = await collect(parts[1], { seed: 1 })
    const rules = planted.map((_, feature) => explainer.explain(feature)!)
    for (const feature of [0, 1, 2, 3]) {
      const examples = examplesOf(heldOut, feature)!
      const own = await score(ruleRater(rules[feature]!), examples)
      expect(own.detection).toBe(1)
      expect(own.detection_accuracy).toBe(1)
      expect(own.fuzzing).toBeGreaterThan(0.95)
      expect(simulation(rules[feature]!, examples)).toBeGreaterThan(0.9)
      const other = await score(ruleRater(rules[(feature + 1) % 3]!), examples)
      expect(Math.abs(other.detection - 0.5)).toBeLessThan(0.2)
      expect(simulation(rules[(feature + 1) % 3]!, examples)).toBeLessThan(0.2)
    }
    const lot = await score(ruleRater(rules[4]!), examplesOf(heldOut, 4)!)
    expect(Math.abs(lot.detection - 0.5)).toBeLessThan(0.15)
    expect(Math.abs(lot.fuzzing - 0.5)).toBeLessThan(0.15)
  })

  test('a feature with too few contexts is not explained, and not scored', async () => {
    const never = {
      count: 1,
      read: async (rows: Float32Array) => new Float32Array(rows.length / planted.length),
    }
    const contexts = await collectContexts({
      rows: rowsOf(parts[0]),
      reader: never,
      tokens: parts[0],
      length,
    })
    expect(new RuleExplainer(contexts).explain(0)).toBeUndefined()
    expect(examplesOf(contexts, 0)).toBeUndefined()
  })
})

describe('statistics', () => {
  test('AUROC of all pairs, ties as halves', () => {
    expect(auroc([3, 4], [1, 2])).toBe(1)
    expect(auroc([1, 2], [3, 4])).toBe(0)
    expect(auroc([1], [1])).toBe(0.5)
    // Pairs: 2>1, 2=2, 5>1, 5>2: 3.5 of 4.
    expect(auroc([2, 5], [1, 2])).toBe(3.5 / 4)
    expect(() => auroc([], [1])).toThrow('both groups')
  })

  test('the best threshold is as good as any', () => {
    const uniform = random.generator(4)
    for (let trial = 0; trial < 50; trial++) {
      const [yes, no] = [0.3, 0].map((shift) =>
        Array.from({ length: 9 }, () => Math.round(10 * (uniform() + shift))),
      ) as [number[], number[]]
      const found = balancedAccuracy(yes, no, bestThreshold(yes, no))
      const best = Math.max(...[-1, ...yes, ...no].map((at) => balancedAccuracy(yes, no, at)))
      expect(found).toBeCloseTo(best, 12)
    }
  })

  test('correlation', () => {
    expect(correlation([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 12)
    expect(correlation([1, 2, 3], [1, 3, 2])).toBeCloseTo(0.5, 12)
    expect(correlation([1, 1], [1, 2])).toBe(0)
  })
})

describe('text models', () => {
  const decode = (ids: readonly number[]): string => ids.map((id) => ` t${id}`).join('')

  test('the prompt marks active tokens and gives their strengths', async () => {
    const [context] = (await collect(parts[0])).of(0).top
    const prompt = explainerPrompt([context!], decode)
    expect(prompt).toContain('<< t7>>')
    expect(prompt).toContain('Strengths: " t7" 10')
  })

  test('a rater that answers by the explanation scores 1; one that says no list is an error', async () => {
    const examples = examplesOf(await collect(parts[0]), 0)!
    const ask = async (prompt: string): Promise<string> => {
      const texts = [...prompt.matchAll(/^Text \d+: (.*)$/gm)].map(([, text]) => text!)
      const marks = prompt.includes('<<')
      return `Here: [${texts.map((text) => Number(marks ? text.includes('<< t7>>') : / t7( |$)/.test(text)))}]`
    }
    const { detection, fuzzing } = await score(textRater(ask, 'the token t7', decode), examples)
    expect([detection, fuzzing]).toEqual([1, 1])
    const vague = textRater(async () => 'maybe', 'x', decode)
    await expect(vague.contexts([[1, 2]])).rejects.toThrow('a list of 1 numbers')
  })
})

describe('in a model', () => {
  const model = tinyModel(engine)
  const site = 'blocks.0.hook_resid_post'

  test('readers give the features of the SAE, the largest numbers, what is above thresholds', async () => {
    const draw = random.gaussian(2)
    const matrix = (rows: number, columns: number) =>
      tensor(Float32Array.from({ length: rows * columns }, draw), [rows, columns])
    const params = {
      W_enc: matrix(16, 24),
      W_dec: matrix(24, 16),
      b_dec: matrix(1, 16).reshape([16]),
      b_enc: matrix(1, 24).reshape([24]),
    }
    const config = {
      architecture: 'standard',
      dIn: 16,
      dOut: 16,
      dSae: 24,
      transcoder: false,
      subtractBias: true,
      normalize: 'none',
      site,
    } as const
    const flat = (t: { data: unknown }, n: number) => tensor(t.data as Float32Array, [n])
    const sae: Sae = {
      config,
      params: { ...params, b_dec: flat(matrix(1, 16), 16), b_enc: flat(matrix(1, 24), 24) },
    }
    const rows = matrix(5, 16)
    const wanted = (await engine.jit((x: typeof rows) => encode(sae, x), { name: 'wanted' })(rows))
      .data as Float32Array
    using all = saeReader(engine, sae)
    using some = saeReader(engine, sae, [3, 20])
    expect(await all.read(rows.data as Float32Array, 5)).toEqual(wanted)
    const picked = await some.read(rows.data as Float32Array, 5)
    expect([...picked]).toEqual([0, 1, 2, 3, 4].flatMap((i) => [wanted[i * 24 + 3]!, wanted[i * 24 + 20]!]))
    using sparse = sparsifiedReader(engine, 4, 2)
    expect([...(await sparse.read(Float32Array.of(1, 3, -1, 2, -1, -2, 4, -3), 2))]).toEqual([
      0, 3, 0, 2, 0, 0, 4, 0,
    ])
    using above = thresholdReader(engine, Float32Array.of(1, 2))
    expect([...(await above.read(Float32Array.of(3, 1, 0, 4), 2))]).toEqual([2, 0, 0, 2])
  })

  test('rows of a source stand where their tokens do', async () => {
    const source = new ActivationSource({
      model,
      tokens: parts[0].subarray(0, 800),
      sites: [site],
      length: 16,
      windows: 3,
      exclude: [0],
    })
    const rows = rowsOfSource(source, site)
    let seen = 0
    for (let i = 0; i < rows.chunks; i++) {
      const { rows: data, places } = await rows.at(i)
      expect(data.length).toBe(places.length * 16)
      for (const place of places) expect(parts[0][place]).not.toBe(0)
      seen += places.length
    }
    expect(seen).toBe(parts[0].subarray(0, 800).filter((token) => token !== 0).length)
  })

  test('steering reaches its divergence; a direction of the unembedding moves its own token', async () => {
    const last = 'blocks.1.hook_resid_post'
    const prompts = [0, 1, 2, 3].map((i) => [...parts[0].subarray(i * 12, (i + 1) * 12)])
    const intervention = await Intervention.open(model, last, prompts)
    const still = await intervention.at(new Float32Array(16).fill(1), 0)
    expect(still.kl).toBeCloseTo(0, 5)
    const embedding = (model.params.embed as unknown as { data: Float32Array }).data
    const towards = [5, 21].map((token) => embedding.slice(token * 16, (token + 1) * 16))
    const steered = [await intervention.reach(towards[0]!, 0.2), await intervention.reach(towards[1]!, 0.2)]
    for (const { kl } of steered) expect(Math.abs(kl - 0.2)).toBeLessThanOrEqual(0.01)
    for (const value of interventionScores(intervention, steered, [[5], [21]]))
      expect(value).toBeGreaterThan(0.3)
    for (const value of interventionScores(intervention, steered, [[21], [5]])) expect(value).toBeLessThan(0)
    await expect(intervention.reach(new Float32Array(16), 0.2)).rejects.toThrow('zero')
  })

  test('what a rule names: what comes next, or else what is there', () => {
    const value = (token: number) => ({ token, share: 0.5, base: 0.01 })
    const rule = (clauses: Rule['clauses']): Rule => ({ clauses, threshold: 0, density: 0.01 })
    expect(
      namedTokens(
        rule([
          { slot: 'token', values: [value(1)] },
          { slot: 'next', values: [value(2)] },
        ]),
      ),
    ).toEqual([2])
    expect(namedTokens(rule([{ slot: 'token', values: [value(1)] }]))).toEqual([1])
    expect(scoreContext(rule([{ slot: 'token', values: [value(1)] }]), [4, 1])).toBeCloseTo(Math.log(50), 6)
  })
})
