/** Losses of every architecture and their gradients, straight-through ones too, against PyTorch in float64 (sae.py). */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { mapTree, scalar, type Tensor, tensor, valueAndGrad } from '../../src/array/index.ts'
import type { Forward, TrainedParams } from '../../src/interp/sae/architecture.ts'
import { makeArchitecture } from '../../src/interp/sae/architectures/index.ts'
import { saeObjective } from '../../src/interp/sae/objective.ts'
import { unitNormDecoder } from '../../src/interp/sae/unitNorm.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { adamw, Trainer, wholly } from '../../src/train/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

type Nested = number[] | number[][]
interface Case {
  readonly params: Record<string, Nested>
  readonly loss: number
  readonly gradients: Record<string, Nested>
  readonly least?: number
}
const fixture = JSON.parse(
  readFileSync(fileURLToPath(new URL('../fixtures/sae/sae.json', import.meta.url)), 'utf8'),
)
const matrix = (rows: Nested): Tensor =>
  Array.isArray(rows[0])
    ? tensor(Float32Array.from((rows as number[][]).flat()), [rows.length, (rows[0] as number[]).length])
    : tensor(Float32Array.from(rows as number[]))
const paramsOf = (params: Record<string, Nested>): TrainedParams =>
  Object.fromEntries(Object.entries(params).map(([name, rows]) => [name, matrix(rows)]))

const [x, y] = [matrix(fixture.x), matrix(fixture.y)]
const dead = tensor(Uint8Array.from(fixture.dead as boolean[], Number), undefined, 'bool')
const [steps, step] = [20, 2]

async function run(recipe: object, { params }: Case, options: { dead?: boolean; transcoder?: boolean } = {}) {
  const { architecture, options: chosen } = makeArchitecture(recipe)
  const sizes = {
    dIn: 6,
    dOut: options.transcoder ? 5 : 6,
    dSae: 12,
    transcoder: options.transcoder ?? false,
  }
  const target = options.transcoder ? y : x
  const program = engine.jit((params: TrainedParams, x: Tensor, y: Tensor, dead: Tensor) => {
    const age = dead.cast('f32').mul(options.dead === false ? 0 : 100)
    return valueAndGrad((p: TrainedParams) => {
      const found = architecture.loss(
        p,
        { x, y },
        {
          options: chosen,
          sizes,
          step: scalar(step),
          steps,
          memory: architecture.memory?.(sizes, chosen) ?? {},
          age: () => age,
          dead: () => age.greater(0),
        },
      )
      return [found.loss, found] as const
    })(params)
  })
  const [[loss, found], gradients] = await program(paramsOf(params), x, target, dead)
  program.dispose()
  return { loss: loss.item(), gradients: gradients as TrainedParams, found: found as Forward }
}

/** f32 against float64: of sums over nine rows. */
const tolerance = 3e-6

function expectSame(found: { loss: number; gradients: TrainedParams }, wanted: Case): void {
  expect(Math.abs(found.loss - wanted.loss)).toBeLessThan(tolerance * Math.max(1, Math.abs(wanted.loss)))
  for (const [name, rows] of Object.entries(wanted.gradients)) {
    const values = (rows as number[]).flat() as number[]
    const largest = Math.max(...values.map(Math.abs))
    const got = found.gradients[name]!.data as Float32Array
    expect(got.length, name).toBe(values.length)
    values.forEach((value, i) => {
      expect(Math.abs(got[i]! - value), `${name}[${i}]: ${got[i]}, not ${value}`).toBeLessThan(
        tolerance * Math.max(1, largest),
      )
    })
  }
}

const warmup = 0.25
const auxiliaryK = 2
const cases: readonly (readonly [name: string, recipe: object, options?: Parameters<typeof run>[2]])[] = [
  ['standard', { kind: 'standard', l1: 0.8, warmup }],
  ['transcoder', { kind: 'standard', l1: 0.8, warmup }, { transcoder: true }],
  ['gated', { kind: 'gated', l1: 0.6, warmup }],
  ['jumprelu', { kind: 'jumprelu', l0: 0.5, warmup, bandwidth: 0.8 }],
  ['topk', { kind: 'topk', k: 3, auxiliaryK }],
  ['topkAlive', { kind: 'topk', k: 3, auxiliaryK }, { dead: false }],
  ['topkTranscoder', { kind: 'topk', k: 3, auxiliaryK }, { transcoder: true }],
  ['batchtopk', { kind: 'batchtopk', k: 3, auxiliaryK }],
]

describe('losses and gradients', () => {
  for (const [name, recipe, options] of cases)
    test(name, async () => {
      const wanted = fixture[name] as Case
      const found = await run(recipe, wanted, options)
      expectSame(found, wanted)
    })

  test('AuxK is the same where the candidates are just the dead features', async () => {
    const wanted = fixture.topk as Case
    expectSame(await run({ kind: 'topk', k: 3, auxiliaryK, candidates: 4 }, wanted), wanted)
    // And it is something: without it the gradient of a dead feature's decoder row is 0.
    const without = await run({ kind: 'topk', k: 3, auxiliaryK, auxiliary: 0 }, wanted)
    expect(without.loss).toBeLessThan(wanted.loss - 1e-3)
  })

  test('counts are rows on which features are active', async () => {
    const found = await run({ kind: 'topk', k: 3 }, fixture.topk as Case)
    const counts = found.found.counts.data as Float32Array
    expect(counts.reduce((a, b) => a + b)).toBeLessThanOrEqual(27)
    expect(Math.max(...counts)).toBeLessThanOrEqual(9)
  })

  test("BatchTopK's threshold begins at the least feature kept", async () => {
    const wanted = fixture.batchtopk as Case
    const { architecture, options } = makeArchitecture({ kind: 'batchtopk', k: 3, auxiliaryK })
    const objective = saeObjective(
      { architecture, options },
      { sizes: { dIn: 6, dOut: 6, dSae: 12, transcoder: false }, steps, deadAfter: 1000 },
    )
    using trainer = new Trainer({
      engine,
      model: wholly(paramsOf(wanted.params)),
      objective,
      batches: { at: () => ({ x }) },
      optimizer: adamw(),
      rate: () => 0,
    })
    await trainer.next()
    const first = await trainer.next()
    expect(first.metrics.threshold!).toBeCloseTo(wanted.least!, 5)
  })
})

test('p falls and its factor follows, over a whole run', async () => {
  const { params, steps: wanted } = fixture.annealing as {
    params: Record<string, Nested>
    steps: { loss: number; factor: number; p: number; gradient: number[][] }[]
  }
  const chosen = makeArchitecture({
    kind: 'p-annealing',
    l1: 0.7,
    p: 0.4,
    start: 0.2,
    updates: 4,
    queue: 3,
    warmup,
  })
  const sizes = { dIn: 6, dOut: 6, dSae: 12, transcoder: false }
  const program = engine.jit(
    (params: TrainedParams, x: Tensor, step: Tensor, memory: Record<string, Tensor>) =>
      valueAndGrad((p: TrainedParams) => {
        const none = () => scalar(0)
        const around = { options: chosen.options, sizes, step, steps, memory, age: none, dead: none }
        const found = chosen.architecture.loss(p, { x, y: x }, around)
        return [found.loss, found] as const
      })(params),
  )
  let memory = chosen.architecture.memory!(sizes, chosen.options) as Record<string, Tensor>
  for (const [at, { loss, factor, p, gradient }] of wanted.entries()) {
    const scaled = tensor(
      (x.data as Float32Array).map((value) => value * (1 + 0.1 * at)),
      x.sizes,
    )
    const [[value, found], gradients] = await program(paramsOf(params), scaled, tensor([at], []), memory)
    memory = found.memory as Record<string, Tensor>
    expect(found.metrics!.p!.item(), `p of step ${at}`).toBeCloseTo(p, 6)
    expect(found.metrics!.factor!.item() / factor, `factor of step ${at}`).toBeCloseTo(1, 4)
    expect(value.item() / loss, `loss of step ${at}`).toBeCloseTo(1, 4)
    const largest = Math.max(...gradient.flat().map(Math.abs))
    gradient.flat().forEach((g, i) => {
      const got = (gradients as TrainedParams).W_enc!.data[i] as number
      expect(Math.abs(got - g) / Math.max(1, largest)).toBeLessThan(2e-5)
    })
  }
  program.dispose()
})

test('six steps of Adam on TopK with unit-norm decoder rows', async () => {
  const { begin, losses, end, age } = fixture.training as {
    begin: Record<string, Nested>
    losses: number[]
    end: Record<string, Nested>
    age: number[]
  }
  const chosen = makeArchitecture({ kind: 'topk', k: 3, auxiliaryK })
  const sizes = { dIn: 6, dOut: 6, dSae: 12, transcoder: false }
  const rows = (fixture.stream as number[][]).flat()
  using trainer = new Trainer({
    engine,
    model: wholly(paramsOf(begin)),
    objective: saeObjective(chosen, { sizes, steps: 6, deadAfter: 18 }),
    batches: { at: (i) => ({ x: tensor(Float32Array.from(rows.slice(i * 54, (i + 1) * 54)), [9, 6]) }) },
    optimizer: unitNormDecoder(adamw()),
    rate: () => 0.02,
  })
  for (const loss of losses) expect((await trainer.next()).loss).toBeCloseTo(loss, 4)
  for (const [name, wanted] of Object.entries(end))
    (wanted as number[]).flat().forEach((value, i) => {
      expect(Math.abs((trainer.params[name]!.data[i] as number) - (value as number)), name).toBeLessThan(2e-4)
    })
  const memory = mapTree(trainer.state.memory as { age: Tensor }, (leaf) => [...(leaf.data as Float32Array)])
  expect(memory.age).toEqual(age)
})
