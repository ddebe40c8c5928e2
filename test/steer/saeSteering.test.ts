/** Steering through sparse autoencoders: PyTorch's numbers, closed forms, planted truth, and the laws of edits. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { grad, random, scalar, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import { complete } from '../../src/decode/index.ts'
import type { TrainedParams } from '../../src/interp/sae/architecture.ts'
import { makeArchitecture } from '../../src/interp/sae/architectures/index.ts'
import { writeSaeLens } from '../../src/interp/sae/files/index.ts'
import { saeObjective } from '../../src/interp/sae/objective.ts'
import type { Sae, SaeConfig } from '../../src/interp/sae/sae.ts'
import { unitNormDecoder } from '../../src/interp/sae/unitNorm.ts'
import { type Edits, joinEdits, type Model, seal } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { withMethods } from '../../src/registry/with.ts'
import { contrastBias, lfEdits } from '../../src/steer/biasFeatures.ts'
import { meanCode } from '../../src/steer/codes.ts'
import { readBias, readPrototypes, writeBias, writePrototypes } from '../../src/steer/featureFile.ts'
import { prototypesOf, pullFeatures, pullObjective, sparseQueryEdits } from '../../src/steer/pullFeatures.ts'
import { scarEdits } from '../../src/steer/scaleFeature.ts'
import { adamw, Trainer, wholly } from '../../src/train/index.ts'
import { tinyModel } from '../interp/tiny.ts'
import { allClose, fixture } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const reference = JSON.parse(readFileSync(fixture('saesteer.json'), 'utf8'))
const matrix = (rows: number[] | number[][]): Tensor =>
  Array.isArray(rows[0])
    ? tensor(Float32Array.from((rows as number[][]).flat()), [rows.length, (rows[0] as number[]).length])
    : tensor(Float32Array.from(rows as number[]))
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
/** f32 against float64, on sums of a dozen products. */
const close = { rtol: 1e-5, atol: 3e-6 }

describe('PyTorch', () => {
  it.each([0, 1, 2])('the loss of SCAR and its gradients: case %i', async (i) => {
    const wanted = reference.scar[i]
    const { condition, positive } = wanted
    const { architecture, options } = makeArchitecture({ kind: 'scar', k: 3, condition, positive })
    const sizes = { dIn: 6, dOut: 6, dSae: 12, transcoder: false }
    const params = Object.fromEntries(
      Object.entries(wanted.params).map(([name, rows]) => [name, matrix(rows as number[][])]),
    )
    const program = engine.jit((params: TrainedParams, x: Tensor, labels: Tensor) =>
      valueAndGrad((p: TrainedParams) => {
        const none = () => scalar(0)
        const around = { options, sizes, step: none(), steps: 1, memory: {}, age: none, dead: none }
        const found = architecture.loss(p, { x, y: x, labels }, around)
        return [found.loss, found] as const
      })(params),
    )
    const [[loss, found], gradients] = await program(params, matrix(wanted.x), matrix(wanted.labels))
    expect(Math.abs(loss.item() - wanted.loss)).toBeLessThan(2e-6)
    expect(Math.abs(found.metrics!.condition!.item() - wanted.told)).toBeLessThan(2e-6)
    for (const [name, rows] of Object.entries(wanted.gradients))
      allClose(floats((gradients as TrainedParams)[name]), (rows as number[][]).flat(), { ...close, name })
  })

  it.each([0, 1, 2, 3])('codes after gradient steps: case %i', async (i) => {
    const { pull, steps, rate, l1, target, codes, prototypes, moved } = reference.query[i]
    const program = engine.jit((z: Tensor, own: never) => pullFeatures(pull, steps)(z, own))
    const own = {
      prototypes: matrix(prototypes),
      target: tensor(Float32Array.from([0, 1, 2], (k) => Number(k === target))),
      rate: tensor([rate], []),
      l1: tensor([l1], []),
    }
    const found = await program(matrix(codes), own as never)
    allClose(floats(found), moved.flat(), { ...close, name: pull })
  })

  it('refuses rows without labels', async () => {
    const chosen = makeArchitecture({ kind: 'scar', k: 3 })
    const sizes = { dIn: 6, dOut: 6, dSae: 12, transcoder: false }
    const x = matrix(reference.scar[0].x)
    using trainer = new Trainer({
      engine,
      model: wholly(chosen.architecture.init(sizes, chosen.options, { count: 9, y: floats(x) }, 1)),
      objective: saeObjective(chosen, { sizes, steps: 1, deadAfter: 1 }),
      batches: { at: () => ({ x }) },
      optimizer: adamw(),
      rate: () => 0,
    })
    await expect(trainer.next()).rejects.toThrow(/scar: the rows have no labels/)
  })
})

describe('closed forms', () => {
  const draw = random.gaussian(4)
  const rows = (n: number, width: number): number[][] =>
    Array.from({ length: n }, () => Array.from({ length: width }, () => Math.max(0, draw())))
  const [codes, centres] = [rows(5, 7), rows(3, 7)]
  const at = 2
  const own = {
    prototypes: matrix(centres),
    target: tensor(Float32Array.from([0, 0, 1])),
    rate: scalar(0.1),
    l1: scalar(0.2),
  }
  const distance = (a: number[], b: number[]): number => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0)

  it('the likelihood of a class climbs along 2 (c_target − Σ p_k c_k) − λ', async () => {
    const program = engine.jit((z: Tensor) => grad((z: Tensor) => pullObjective('likelihood', z, own))(z))
    const found = floats(await program(matrix(codes)))
    codes.forEach((z, row) => {
      const weights = centres.map((c) => Math.exp(-distance(z, c)))
      const total = weights.reduce((a, b) => a + b)
      const expected = z.map(
        (_, j) =>
          2 * (centres[at]![j]! - weights.reduce((sum, w, k) => sum + (w / total) * centres[k]![j]!, 0)) -
          0.2,
      )
      allClose(found.slice(row * 7, row * 7 + 7), expected, { ...close, name: `row ${row}` })
    })
  })

  it('the distance shrinks by 1 − 2η in each step', async () => {
    const program = engine.jit((z: Tensor) =>
      pullFeatures('distance', 6)(z, { ...own, l1: scalar(0), rate: scalar(0.15) }),
    )
    const found = floats(await program(matrix(codes)))
    const expected = codes.flatMap((z) =>
      z.map((x, j) => centres[at]![j]! + 0.7 ** 6 * (x - centres[at]![j]!)),
    )
    allClose(found, expected, { ...close, name: 'distance' })
  })
})

/** Area under the curve: how often a positive is above a negative. */
const auc = (ours: readonly number[], theirs: readonly number[]): number =>
  ours.reduce((sum, x) => sum + theirs.reduce((own, y) => own + (x > y ? 1 : x === y ? 0.5 : 0), 0), 0) /
  (ours.length * theirs.length)

describe('planted truth', () => {
  const [width, planted, active, batch, steps, concept] = [16, 32, 3, 128, 400, 5]
  const pool = 4096

  /** Sums of three directions on average out of 32; the label is whether the fifth is among them. */
  function world() {
    const draw = random.gaussian(5)
    const directions = Array.from({ length: planted }, () => {
      const row = Array.from({ length: width }, () => draw())
      const norm = Math.hypot(...row)
      return row.map((value) => value / norm)
    })
    const uniform = random.generator(7)
    const [rows, labels] = [new Float32Array(pool * width), new Float32Array(pool)]
    for (let i = 0; i < pool; i++)
      for (const [d, direction] of directions.entries()) {
        if (uniform() >= active / planted) continue
        if (d === concept) labels[i] = 1
        const size = 1 + uniform()
        for (let j = 0; j < width; j++) rows[i * width + j]! += size * direction[j]!
      }
    // No row is nothing: its norm is divided by.
    for (let i = 0; i < rows.length; i++) rows[i]! += 0.05 * draw()
    return { directions, rows, labels }
  }

  async function train(condition: number) {
    const { directions, rows, labels } = world()
    const chosen = makeArchitecture({ kind: 'scar', k: active, condition, positive: 4 })
    const sizes = { dIn: width, dOut: width, dSae: planted, transcoder: false }
    using trainer = new Trainer({
      engine,
      model: wholly(chosen.architecture.init(sizes, chosen.options, { count: pool, y: rows }, 1)),
      objective: saeObjective(chosen, { sizes, steps, deadAfter: 50 * batch }),
      batches: {
        at(step: number) {
          // The last quarter is held out.
          const start = (step * batch) % (pool * 0.75)
          return {
            x: tensor(rows.slice(start * width, (start + batch) * width), [batch, width]),
            labels: tensor(labels.slice(start, start + batch)),
          }
        },
      },
      optimizer: unitNormDecoder(adamw()),
      rate: (step) => 0.004 * Math.min(1, (steps - step) / (steps / 3)),
      clip: 1,
    })
    while (trainer.step < steps) await trainer.next()
    const { params } = trainer
    const decoder = floats(params.W_dec).slice(0, width)
    const cosine = directions[concept]!.reduce((sum, x, j) => sum + x * decoder[j]!, 0)
    const encoder = floats(params.W_enc)
    const [bias, shift] = [floats(params.b_enc)[0]!, floats(params.b_dec)]
    const scores: number[][] = [[], []]
    for (let i = pool * 0.75; i < pool; i++) {
      const x = rows.subarray(i * width, (i + 1) * width)
      const mean = x.reduce((a, b) => a + b, 0) / width
      const std = Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (width - 1))
      let logit = bias
      for (let j = 0; j < width; j++)
        logit += ((x[j]! - mean) / (std + 1e-5) - shift[j]!) * encoder[j * planted]!
      scores[labels[i]!]!.push(logit)
    }
    return { cosine, area: auc(scores[1]!, scores[0]!) }
  }

  it('SCAR puts the concept into feature 0, and no condition does not', async () => {
    const [told, untold] = [await train(1), await train(0)]
    expect(told.area).toBeGreaterThan(0.97)
    expect(told.cosine).toBeGreaterThan(0.8)
    expect(Math.abs(untold.area - 0.5)).toBeLessThan(0.3)
    expect(untold.cosine).toBeLessThan(0.6)
  }, 300_000)

  it('the contrast is in the features that differ, and only they get a bias', () => {
    const bias = floats(contrastBias([0.1, 0.9, 0, 0.3], [0.15, 0.2, 0.5, 0.3], 2))
    expect([...bias].map((x) => Number(x.toFixed(6)))).toEqual([0, 0.7, -0.5, 0])
    expect(() => contrastBias([0, 0], [0, 0], 3)).toThrow(/3 features: the SAE has 2/)
    expect(() => contrastBias([0, 0], [0], 1)).toThrow(/not of one SAE/)
  })
})

/** An SAE of random directions. */
function randomSae(dIn: number, changes: Partial<SaeConfig>): Sae {
  const dSae = 24
  const draw = random.gaussian(9)
  const normal = (length: number, size: number): Float32Array =>
    Float32Array.from({ length }, () => size * draw())
  return {
    config: {
      architecture: 'topk',
      k: 6,
      dIn,
      dOut: dIn,
      dSae,
      transcoder: false,
      subtractBias: true,
      normalize: 'none',
      ...changes,
    },
    params: {
      W_enc: tensor(normal(dIn * dSae, 1), [dIn, dSae]),
      W_dec: tensor(normal(dIn * dSae, 0.4), [dSae, dIn]),
      b_enc: tensor(normal(dSae, 0.1)),
      b_dec: tensor(normal(dIn, 0.1)),
    },
  }
}

const codesOf = (seed: number): Float32Array => {
  const uniform = random.generator(seed)
  return Float32Array.from({ length: 24 }, () => uniform())
}
const prototypes = prototypesOf({ calm: codesOf(1), loud: codesOf(2) })
const bias = contrastBias(codesOf(3), codesOf(4), 12)
const queries = randomSae(16, { site: 'blocks.1.attn.hook_q' })
const outputs = randomSae(16, { site: 'blocks.0.hook_mlp_out', normalize: 'layer_norm', k: 18 })
const states = randomSae(16, { site: 'blocks.0.hook_resid_post' })
type Error = { error?: 'keep' | 'drop' }
const methods: Record<string, { sae: Sae; edits: (strength: number, options?: Error) => Edits }> = {
  'sparse queries': {
    sae: queries,
    edits: (strength, options) =>
      sparseQueryEdits(queries, prototypes, { target: 'loud', strength, steps: 4, l1: 0.01, ...options }),
  },
  SCAR: {
    sae: outputs,
    edits: (strength, options) => scarEdits(outputs, { strength, feature: 7, ...options }),
  },
  'LF-Steering': {
    sae: states,
    edits: (strength, options) => lfEdits(states, bias, { strength, ...options }),
  },
}
const row = (length: number, seed = 1): number[] =>
  Array.from({ length }, (_, i) => 1 + ((i * 31 + seed * 17) % 49))
const greedy = { temperature: 0, maxTokens: 6, stopTokens: [] as number[], logprobs: 0 }
const rounding = { rtol: 1e-4, atol: 5e-5 }
const logits = async (of: Model, tokens: readonly number[], edit: Edits = {}): Promise<Float32Array> =>
  floats((await of.run([tokens], { read: ['logits'], edit })).logits)

describe.each(Object.entries(methods))('%s', (name, { sae, edits }) => {
  const model = tinyModel(engine)

  it('makes no edits at strength 0, and does something at others', async () => {
    expect(edits(0)).toEqual({})
    const plain = await logits(model, row(8))
    const largest = (a: Float32Array, b: Float32Array): number =>
      a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)
    expect(largest(await logits(model, row(8), edits(3)), plain)).toBeGreaterThan(1e-3)
    // With the error kept, a small strength is a small change; with it dropped, the reconstruction stays.
    expect(largest(await logits(model, row(8), edits(1e-6)), plain)).toBeLessThan(1e-3)
    expect(largest(await logits(model, row(8), edits(1e-6, { error: 'drop' })), plain)).toBeGreaterThan(1e-2)
    expect(() => edits(Number.NaN)).toThrow(/finite/)
  })

  it('compiles nothing for another strength', async () => {
    await logits(model, row(8), edits(1))
    const { compilations } = model
    await logits(model, row(8), edits(-2))
    expect(model.compilations).toBe(compilations)
  })

  it('cached, in a batch and whole: the same', async () => {
    const edit = edits(2)
    const prompts = [row(6, 1), row(3, 2)]
    const texts = await complete(model, prompts, greedy, { edit })
    for (const [i, { tokens, logprobs }] of texts.entries()) {
      const [alone] = await complete(model, [prompts[i]!], greedy, { edit })
      expect(alone!.tokens).toEqual(tokens)
      const whole = floats(await model.score([[...prompts[i]!, ...tokens]], { edit }))
      const own = Float32Array.from(logprobs!, ({ logprob }) => logprob)
      allClose(own, whole.slice(prompts[i]!.length - 1), { ...rounding, name: `${name}, row ${i}` })
    }
  })

  it('in a model sealed in int4, with another strength later', async () => {
    const sealed = seal(model, { weights: 'int4', edit: edits(2) })
    const plain = seal(model, { weights: 'int4' })
    const [steered, view] = [await logits(sealed, row(20)), await logits(sealed.edited(edits(4)), row(20))]
    expect(steered).not.toEqual(await logits(plain, row(20)))
    expect(view).not.toEqual(steered)
    expect(await logits(sealed.edited(edits(2)), row(20))).toEqual(steered)
    const [text] = await complete(sealed, [row(6)], greedy)
    const whole = floats(await sealed.score([[...row(6), ...text!.tokens]]))
    const own = Float32Array.from(text!.logprobs!, ({ logprob }) => logprob)
    allClose(own, whole.slice(5), { ...rounding, name: 'sealed' })
    sealed.dispose()
    plain.dispose()
  })

  it('after another edit at its site sees what that has made', async () => {
    const site = sae.config.site!
    const shift = (x: Tensor): Tensor => x.add(0.5)
    const joined = joinEdits({ [site]: shift }, edits(2))
    const one = edits(2)[site] as { apply: (x: Tensor, args: unknown) => Tensor; args: unknown }
    const both = { [site]: (x: Tensor) => one.apply(shift(x), one.args) }
    allClose(await logits(model, row(5), joined), await logits(model, row(5), both), {
      ...rounding,
      name: 'joined',
    })
    const others = Object.entries(methods).flatMap(([other, { edits }]) => (other === name ? [] : [edits(1)]))
    const all = others.reduce((a, b) => joinEdits(a, b), edits(2))
    expect(Object.keys(all).length).toBe(3)
    expect((await logits(model, row(5), all)).every(Number.isFinite)).toBe(true)
  })
})

describe('files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'glossa-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const model = tinyModel(engine)
  const path = (name: string): string => join(folder, name)

  it('gives what the same things in memory give', async () => {
    for (const [name, sae] of Object.entries({ queries, states, outputs })) writeSaeLens(path(name), sae)
    writePrototypes(path('prototypes.safetensors'), prototypes, queries.config)
    writeBias(path('bias.safetensors'), bias, states.config)
    const specs = {
      'sparse queries': `sparse-query:sae=${path('queries')},prototypes=${path('prototypes.safetensors')},target=loud,steps=4,l1=0.01`,
      SCAR: `scar:sae=${path('outputs')},feature=7`,
      'LF-Steering': `lf-steering:sae=${path('states')},bias=${path('bias.safetensors')}`,
    }
    for (const [name, spec] of Object.entries(specs)) {
      const { edit } = await withMethods(model, [`${spec},strength=2`])
      expect(await logits(model, row(9), edit), name).toEqual(
        await logits(model, row(9), methods[name]!.edits(2)),
      )
      expect((await withMethods(model, [`${spec},strength=0`])).edit, name).toEqual({})
    }
  })

  it('names what does not belong together', async () => {
    const [a, b] = [path('prototypes.safetensors'), path('bias.safetensors')]
    expect(() => readPrototypes(b, queries.config)).toThrow(/has the tensors bias, not 'prototypes'/)
    expect(() => readPrototypes(a, states.config)).toThrow(
      /of an SAE at blocks.1.attn.hook_q, not at blocks.0/,
    )
    expect(() => readBias(b, { ...states.config, dSae: 25 })).toThrow(/has 25 features: it is of another one/)
    await expect(withMethods(model, [`scar:sae=${a}`])).rejects.toThrow(/scar: .*neither/)
  })
})

describe('mean codes', () => {
  it('are those of all tokens, whatever the padding', async () => {
    const model = tinyModel(engine)
    const rows = [row(9, 1), row(4, 2), row(6, 3)]
    const apart = await Promise.all(rows.map((one) => meanCode(model, queries, [one])))
    const [all, last] = [
      await meanCode(model, queries, rows, { batch: 2 }),
      await meanCode(model, queries, rows, { positions: 'last' }),
    ]
    const expected = all.map(
      (_, i) => rows.reduce((sum, { length }, r) => sum + length * apart[r]![i]!, 0) / 19,
    )
    allClose(all, expected, { ...close, name: 'all' })
    const cut = await Promise.all(rows.map((one) => meanCode(model, queries, [one.slice(0, -1)])))
    const ends = all.map(
      (_, i) =>
        rows.reduce((sum, { length }, r) => sum + length * apart[r]![i]! - (length - 1) * cut[r]![i]!, 0) / 3,
    )
    allClose(last, ends, { rtol: 1e-4, atol: 2e-5, name: 'last' })
    await expect(meanCode(model, queries, [])).rejects.toThrow(/no texts/)
  })
})

describe('errors', () => {
  it('names what is wrong', () => {
    const options = { target: 'sad', strength: 1 }
    expect(() => sparseQueryEdits(queries, prototypes, options)).toThrow(
      /no class 'sad'; there are calm, loud/,
    )
    expect(() => sparseQueryEdits(queries, prototypes, { target: 'calm', strength: 1, steps: 0 })).toThrow(
      /0 steps/,
    )
    expect(() => scarEdits(outputs, { strength: 1, feature: 24 })).toThrow(/features 0 to 23/)
    const { site: _, ...config } = states.config
    expect(() => lfEdits({ ...states, config }, bias, { strength: 1 })).toThrow(/give it a site/)
    expect(() => lfEdits(states, tensor(new Float32Array(3)), { strength: 1 })).toThrow(/has 24 features/)
  })

  it('a feature that is not active stays so', async () => {
    const sae = randomSae(16, {})
    const program = engine.jit((x: Tensor) => {
      const edit = lfEdits({ ...sae, config: { ...sae.config, site: 's' } }, bias, { strength: 5 }).s as {
        apply: (x: Tensor, args: unknown) => Tensor
        args: unknown
      }
      return edit.apply(x, edit.args)
    })
    const draw = random.gaussian(2)
    const x = tensor(
      Float32Array.from({ length: 32 }, () => draw()),
      [1, 2, 16],
    )
    const found = floats(await program(x))
    // By hand, in float64: of the largest six of each row, those above 0 get five times the bias.
    const { W_enc, W_dec, b_enc, b_dec } = sae.params as unknown as Record<string, Tensor>
    const expected = [0, 1].flatMap((r) => {
      const own = floats(x).slice(r * 16, r * 16 + 16)
      const before = Array.from({ length: 24 }, (_, i) =>
        own.reduce(
          (sum, v, j) => sum + (v - floats(b_dec)[j]!) * floats(W_enc)[j * 24 + i]!,
          floats(b_enc)[i]!,
        ),
      )
      const least = [...before].sort((a, b) => b - a)[5]!
      const moved = before.map((f, i) =>
        f >= least && f > 0 ? Math.max(0, f + 5 * floats(bias)[i]!) - f : 0,
      )
      return [...own].map((v, j) => moved.reduce((sum, m, i) => sum + m * floats(W_dec)[i * 16 + j]!, v))
    })
    allClose(found, expected, { rtol: 1e-4, atol: 2e-5, name: 'by hand' })
  })
})
