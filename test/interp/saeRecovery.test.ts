/** SAEs find the directions that made-up data is made of (Sharkey et al. 2022): seconds each. */
import { afterAll, expect, test } from 'vitest'
import { random, tensor } from '../../src/array/index.ts'
import { makeArchitecture } from '../../src/interp/sae/architectures/index.ts'
import { SaeGroup } from '../../src/interp/sae/group.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { adamw } from '../../src/train/index.ts'

const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())

const [width, planted, active, batch, steps] = [16, 32, 3, 256, 1000]
const pool = 16384

/** 32 directions in 16 dimensions, of which a row has three on average, each of size 1 to 2. */
function world() {
  const draw = random.gaussian(5)
  const directions = Array.from({ length: planted }, () => {
    const row = Array.from({ length: width }, () => draw())
    const norm = Math.hypot(...row)
    return row.map((value) => value / norm)
  })
  const uniform = random.generator(7)
  const rows = new Float32Array(pool * width)
  for (let i = 0; i < pool; i++)
    for (const direction of directions) {
      if (uniform() >= active / planted) continue
      const size = 1 + uniform()
      for (let j = 0; j < width; j++) rows[i * width + j]! += size * direction[j]!
    }
  const batches = {
    at(step: number) {
      const start = ((step * batch) % pool) * width
      return { 'made-up': tensor(rows.slice(start, start + batch * width), [batch, width]) }
    },
  }
  return { directions, rows, batches }
}

/** Of each planted direction the cosine of the decoder row next to it; their mean. */
function recovery(decoder: Float32Array, directions: readonly number[][]): number {
  const norms = Array.from({ length: decoder.length / width }, (_, i) =>
    Math.hypot(...decoder.subarray(i * width, (i + 1) * width)),
  )
  const best = directions.map((direction) =>
    Math.max(
      ...norms.map(
        (norm, i) => direction.reduce((sum, value, j) => sum + value * decoder[i * width + j]!, 0) / norm,
      ),
    ),
  )
  return best.reduce((a, b) => a + b) / best.length
}

const recipes = {
  topk: { kind: 'topk', k: active },
  batchtopk: { kind: 'batchtopk', k: active },
  'p-annealing': { kind: 'p-annealing', l1: 0.8, bias: 'zero' },
  gated: { kind: 'gated', l1: 2.5, bias: 'zero' },
  standard: { kind: 'standard', l1: 0.8, decoder: 'unit', bias: 'zero' },
  jumprelu: { kind: 'jumprelu', l0: 0.6, threshold: 0.3, bandwidth: 0.5, bias: 'zero' },
} as const

for (const [name, recipe] of Object.entries(recipes))
  test(`${name} recovers the planted directions`, { timeout: 120_000 }, async () => {
    const { directions, rows, batches } = world()
    using group = new SaeGroup({
      engine,
      members: [
        {
          name: 'sae',
          chosen: makeArchitecture(recipe),
          sites: ['made-up'],
          dSae: planted,
          seed: 1,
          optimizer: adamw(),
          rate: (step) => 0.004 * Math.min(1, (steps - step) / (steps / 3)),
          deadAfter: 50 * batch,
        },
      ],
      batches,
      sample: { count: pool, rows: { 'made-up': rows } },
      steps,
    })
    let report = await group.next()
    const before = recovery(group.saes()[0]!.sae.params.W_dec.data as Float32Array, directions)
    while (group.step < steps) report = await group.next()
    const found = recovery(group.saes()[0]!.sae.params.W_dec.data as Float32Array, directions)
    expect(before).toBeLessThan(0.8)
    expect(found).toBeGreaterThan(0.9)
    expect(report.metrics.l0!).toBeLessThan(6)
    expect(report.metrics.dead!).toBeLessThan(0.05)
  })
