/** Steering against PyTorch and numpy (test/fixtures/steering.py), planted directions, files in and out. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { random, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import { load, Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { firstComponent } from '../../src/steer/components.ts'
import { differenceComponent, differenceOfMeans } from '../../src/steer/contrast.ts'
import {
  embeddingMap,
  fitControlVector,
  fitWordSteer,
  joinSteers,
  newWordSteer,
  readControlVector,
  readWordSteer,
  stanceLoss,
  transferSteer,
  type WordSteer,
  wordSteerEdits,
  writeControlVector,
  writeWordSteer,
} from '../../src/steer/index.ts'
import { writeSafetensors } from '../../src/store/index.ts'
import { allClose, fixture, tolerance } from '../reference.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
const folder = mkdtempSync(join(tmpdir(), 'glossa-steer-'))
afterAll(async () => {
  await engine.dispose()
  rmSync(folder, { recursive: true })
})

interface Stance {
  readonly model: string
  readonly steers: number
  readonly rank: number
  readonly epsilon: number
  readonly regularization: number
  readonly tokens: number[][]
  readonly mask: number[][]
  readonly labels: number[]
  readonly loss: number
  readonly projector1: number[]
  readonly projector2: number[]
}
interface Golden {
  readonly stance: Stance[]
  readonly components: { rows: number[][]; first: number[] }
  readonly transfer: Record<'map' | 'projector1' | 'projector2' | 'steer', number[]> & {
    from: number[][]
    to: number[][]
  }
}
const golden = JSON.parse(readFileSync(fixture('steering/steering.json'), 'utf8')) as Golden

const wave = (shape: readonly number[], k: number, scale: number): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) =>
      Math.fround(scale * Math.sin(1 + 0.7 * i + 13 * k)),
    ),
    shape,
  )
const floats = (x: Tensor | undefined): Float32Array => x!.data as Float32Array
const starter = Model.open('models/starter', engine)

describe('LM-Steer', () => {
  it.each(golden.stance)('has the loss and the gradient of PyTorch: $model', async (golden) => {
    const { spec, params } = load(fixture(golden.model))
    const { steers, rank, epsilon } = golden
    const names = ['style', 'domain'].slice(0, steers)
    const objective = stanceLoss(spec, { epsilon, names }, golden.regularization)
    const shape = [steers, spec.width, rank]
    const steer = { projector1: wave(shape, 1, 0.4), projector2: wave(shape, 2, 0.4) }
    const batch = {
      tokens: tensor(Int32Array.from(golden.tokens.flat()), [3, 9]),
      mask: tensor(Float32Array.from(golden.mask.flat()), [3, 9]),
      labels: tensor(Float32Array.from(golden.labels)),
    }
    const step = engine.jit((model: typeof params, own: typeof steer, given: typeof batch) =>
      valueAndGrad((trained: typeof steer) => {
        const { sum, weight } = objective.loss({ model, steer: trained }, given, tensor([0], []))
        return sum.div(weight)
      })(own),
    )
    const [loss, grads] = await step(params, steer, batch)
    expect(loss.item()).toBeCloseTo(golden.loss, 5)
    for (const name of ['projector1', 'projector2'] as const)
      allClose(floats(grads[name]), golden[name], { ...tolerance.gradient, name })
  })

  /** Random, and of a size that changes tokens. */
  const drawn = (seed: number, domain = false): WordSteer =>
    newWordSteer(starter.spec, { rank: 4, epsilon: 0.02, deviation: 0.5, domain, seed })
  const logits = async (model: Model): Promise<Float32Array> =>
    floats((await model.run([[1, 5, 9, 20, 7]])).logits)

  it('adds steers up, and each of them scales with its value', async () => {
    const [a, b] = [drawn(1), drawn(2)]
    const states = floats(
      (await starter.run([[1, 5, 9, 20, 7]], { read: ['ln_final.hook_normalized'] }))[
        'ln_final.hook_normalized'
      ],
    )
    const { width } = starter.spec
    /** h + Σ ε v h P1 P2ᵀ, written out. */
    const change = (steer: WordSteer, value: number): Float64Array => {
      const [p1, p2] = [floats(steer.projector1), floats(steer.projector2)]
      const out = new Float64Array(states.length)
      for (let t = 0; t < states.length / width; t++)
        for (let r = 0; r < 4; r++) {
          let low = 0
          for (let i = 0; i < width; i++) low += states[t * width + i]! * p1[i * 4 + r]!
          for (let i = 0; i < width; i++) out[t * width + i]! += steer.epsilon * value * low * p2[i * 4 + r]!
        }
      return out
    }
    const [one, two] = [change(a, 2), change(b, -1)]
    const expected = states.map((x, i) => x + one[i]! + two[i]!)
    const joined = joinSteers([a, { ...b, epsilon: 0.01, projector1: b.projector1 }])
    const read = { read: ['ln_final.hook_normalized'] }
    const own = await starter.edited(wordSteerEdits(joined, [2, -2])).run([[1, 5, 9, 20, 7]], read)
    // ε of the second is half of what `change` took, so its value is twice.
    allClose(floats(own['ln_final.hook_normalized']), expected, { rtol: 1e-4, atol: 1e-4, name: 'states' })
    const { compilations } = starter
    await starter.edited(wordSteerEdits(joined, [0.3, 5])).run([[1, 5, 9, 20, 7]], read)
    expect(starter.compilations).toBe(compilations)
    expect(() => wordSteerEdits(joined, [1])).toThrow('1 values for 2 steers')
    expect(() => wordSteerEdits(joined, [1, Number.NaN])).toThrow(/finite/)
  })

  it('learns a style and its opposite, and leaves the model as it was', async () => {
    const before = await logits(starter)
    const texts = ['Lily was happy. She loved the sun.', 'Tom was happy and he loved to play.'].flatMap(
      (text) => [
        { text, label: 1 },
        { text: text.replace('happy', 'sad').replace('loved', 'hated'), label: -1 },
      ],
    )
    const losses: number[] = []
    const steer = await fitWordSteer(engine, starter, texts, {
      steps: 40,
      batch: 4,
      rank: 8,
      epsilon: 0.1,
      onStep: (_, loss) => losses.push(loss),
    })
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3)
    const total = async (model: Model, text: string): Promise<number> =>
      floats(await model.score([model.tokenizer!.encode(text).ids])).reduce((a, b) => a + b, 0)
    const [happy, sad] = [texts[0]!.text, texts[1]!.text]
    const preference: number[] = []
    for (const value of [-2, -1, 0, 1, 2]) {
      const view = starter.edited(wordSteerEdits(steer, [value, 0]))
      preference.push((await total(view, happy)) - (await total(view, sad)))
    }
    expect([...preference].sort((a, b) => a - b)).toEqual(preference)
    expect(preference[3]! - preference[1]!).toBeGreaterThan(1)
    expect(await logits(starter)).toEqual(before)
    await expect(fitWordSteer(engine, starter, texts.slice(0, 1))).rejects.toThrow(/texts of both kinds/)
  })

  it('is written and read as it is', async () => {
    const path = join(folder, 'steer.safetensors')
    const steer = { ...drawn(3, true), modelHint: 'starter' }
    writeWordSteer(path, steer)
    const read = readWordSteer(path, starter.spec)
    expect({ ...read, projector1: 0, projector2: 0 }).toEqual({ ...steer, projector1: 0, projector2: 0 })
    expect(floats(read.projector1)).toEqual(floats(steer.projector1))
    expect(floats(read.projector2)).toEqual(floats(steer.projector2))
    writeWordSteer(join(folder, 'again.safetensors'), read)
    expect(readFileSync(join(folder, 'again.safetensors'))).toEqual(readFileSync(path))
    expect(() => readWordSteer(path, { width: 64 })).toThrow(/for a width of 128, the model's is 64/)
    writeFileSync(join(folder, 'cut.safetensors'), readFileSync(path).subarray(0, 2000))
    expect(() => readWordSteer(join(folder, 'cut.safetensors'))).toThrow(/cut\.safetensors/)
    writeSafetensors(join(folder, 'other.safetensors'), [])
    expect(() => readWordSteer(join(folder, 'other.safetensors'))).toThrow(/is not an LM-Steer/)
  })

  it('moves to another model as numpy has it', () => {
    const { from, to, map, projector1, projector2, steer } = golden.transfer
    const modelOf = (rows: number[][]): Model =>
      ({
        path: 'a/model',
        spec: { width: rows[0]!.length, vocab: rows.length },
        params: { embed: tensor(Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]) },
        tokenizer: {
          vocabSize: rows.length,
          token: (id: number) => `t${id}`,
          id: (text: string) => Number(text.slice(1)),
        },
      }) as unknown as Model
    const [a, b] = [modelOf(from), modelOf(to)]
    // The ridge is a millionth of the diagonal.
    allClose(embeddingMap(a, b), map, { rtol: 1e-4, atol: 1e-5, name: 'H' })
    const shape = [1, 5, 2]
    const own: WordSteer = {
      projector1: tensor(Float32Array.from(projector1), shape),
      projector2: tensor(Float32Array.from(projector2), shape),
      names: ['style'],
      epsilon: 1e-3,
      modelHint: '',
    }
    const moved = transferSteer(own, a, b)
    expect(moved.projector1.sizes).toEqual([1, 4, 2])
    const [p1, p2] = [floats(moved.projector1), floats(moved.projector2)]
    const w = Array.from({ length: 16 }, (_, i) => {
      const [row, column] = [Math.floor(i / 4), i % 4]
      return p1[row * 2]! * p2[column * 2]! + p1[row * 2 + 1]! * p2[column * 2 + 1]!
    })
    allClose(w, steer, { rtol: 1e-4, atol: 1e-4, name: 'W' })
    // To the model that it is of, it is itself.
    const same = transferSteer(own, a, a)
    allClose(floats(same.projector1), projector1, { rtol: 1e-4, atol: 1e-4, name: 'the same model' })
    expect(() => embeddingMap(a, modelOf(to.slice(0, 3)))).toThrow(/share 3 tokens.*needs 4/)
  })
})

describe('directions', () => {
  const gaussian = random.gaussian(9)
  const planted = Float32Array.from({ length: 24 }, () => gaussian())
  /** Pairs that differ by the planted direction, in some measure, and noise. */
  const measures: number[] = []
  const pairs = Array.from({ length: 200 }, () => {
    const base = planted.map(() => 3 * gaussian())
    const much = 1 + 0.5 * gaussian()
    measures.push(much)
    const noisy = (x: number): number => x + 0.1 * gaussian()
    return [
      base.map((x, i) => noisy(x + (much * planted[i]!) / 2)),
      base.map((x, i) => noisy(x - (much * planted[i]!) / 2)),
    ] as const
  })
  const [a, b] = [pairs.map(([x]) => x), pairs.map(([, x]) => x)]
  const cosine = (x: Float32Array, y: Float32Array): number =>
    x.reduce((sum, value, i) => sum + value * y[i]!, 0) / (Math.hypot(...x) * Math.hypot(...y))

  it('finds what was planted: difference of means', () => {
    const found = differenceOfMeans(a, b)
    expect(cosine(found, planted)).toBeGreaterThan(0.995)
    const mean = measures.reduce((sum, x) => sum + x, 0) / measures.length
    allClose(
      found,
      planted.map((x) => mean * x),
      { rtol: 0, atol: 0.05, name: 'the mean measure of it' },
    )
  })

  it('finds what was planted: principal component, whichever way it is written down', () => {
    expect(cosine(differenceComponent(a, b), planted)).toBeGreaterThan(0.99)
    expect(cosine(differenceComponent(b, a), planted)).toBeLessThan(-0.99)
    expect(Math.hypot(...differenceComponent(a, b))).toBeCloseTo(1, 6)
  })

  it('has the first component of numpy', () => {
    const { rows, first } = golden.components
    const own = firstComponent(rows.map((row) => Float32Array.from(row)))
    const sign = Math.sign(own[0]! * first[0]!)
    allClose(
      own,
      first.map((x) => sign * x),
      { rtol: 1e-5, atol: 1e-6, name: 'first component' },
    )
    expect(() => firstComponent([planted, planted, planted])).toThrow(/no direction/)
  })

  it('is the difference of states of a model', async () => {
    const texts = { positive: ['Tom was happy.', 'Lily was glad'], negative: ['Tom was sad.', 'Lily was'] }
    const { directions } = await fitControlVector(starter, texts, { layers: [2], batch: 2 })
    const site = 'blocks.2.hook_resid_post'
    const { width } = starter.spec
    const expected = new Float64Array(width)
    for (const [kind, sign] of [
      ['positive', 1],
      ['negative', -1],
    ] as const)
      for (const text of texts[kind]) {
        const { ids } = starter.tokenizer!.encode(text)
        const read = await starter.run([ids], { read: [site] })
        const last = floats(read[site]).slice(-width)
        last.forEach((x, i) => {
          expected[i]! += (sign * x) / 2
        })
      }
    allClose(directions.get(2)!, expected, { rtol: 1e-4, atol: 1e-4, name: 'difference' })
    const all = await fitControlVector(starter, texts)
    expect([...all.directions.keys()]).toEqual([1, 2, 3, 4])
    await expect(fitControlVector(starter, { positive: ['a'], negative: [] })).rejects.toThrow(/both kinds/)
    await expect(fitControlVector(starter, { ...texts, negative: ['x'] }, { kind: 'pca' })).rejects.toThrow(
      /2 positive and 1 negative/,
    )
    await expect(fitControlVector(starter, texts, { layers: [7] })).rejects.toThrow(/layer 7/)
  })
})

describe('control vectors in files', () => {
  it.each(['llamacpp', 'repeng'])("reads %s's", (name) => {
    const { directions, modelHint } = readControlVector(fixture(`steering/${name}.gguf`), {
      width: 32,
      layers: 3,
    })
    expect(modelHint).toBe('llama')
    expect([...directions.keys()]).toEqual([1, 2])
    for (const [layer, data] of directions)
      allClose(data, floats(wave([32], layer, 1)), { rtol: 1e-6, atol: 1e-7, name })
  })

  it('are written and read as they are', () => {
    const path = join(folder, 'vector.gguf')
    const vector = readControlVector(fixture('steering/repeng.gguf'))
    writeControlVector(path, vector)
    expect(readControlVector(path)).toEqual(vector)
    // Byte for byte what an independent writer makes, but for the type of the count.
    expect(readFileSync(path).length).toBe(readFileSync(fixture('steering/llamacpp.gguf')).length)
  })

  it('refuses what does not fit', () => {
    const path = fixture('steering/repeng.gguf')
    expect(() => readControlVector(path, { width: 16, layers: 3 })).toThrow(/32 numbers.*have 16/)
    expect(() => readControlVector(path, { width: 32, layers: 2 })).toThrow(/'direction\.2'.*layers 0 to 1/)
    const zero = { directions: new Map([[0, new Float32Array(4)]]), modelHint: '' }
    expect(() => writeControlVector(join(folder, 'zero.gguf'), zero)).toThrow(/layer 0/)
    expect(() => readControlVector(fixture('llama-tiny/model.safetensors'))).toThrow()
  })
})
