/** Verdicts of the experiments with SAEs at invented numbers, written before the real ones were known. */
import { describe, expect, test } from 'vitest'
import { arms, judge as autointerp } from '../../src/experiments/papers/autointerp.ts'
import { judge as layerGroups } from '../../src/experiments/papers/layerGroups.ts'
import { armOf, judge as pAnnealing } from '../../src/experiments/papers/pAnnealing.ts'
import { judge as seedStability } from '../../src/experiments/papers/seedStability.ts'
import { powerLaw, judge as topkSae } from '../../src/experiments/papers/topkSae.ts'
import { rowsOf } from '../../src/experiments/result.ts'
import { readAt } from '../../src/experiments/saes.ts'

type Metrics = Readonly<Record<string, number>>
/** Three seeds around the given numbers; `noise` is added to all, larger for later seeds. */
const table = (all: Readonly<Record<string, Metrics>>, noise = 0.0005) =>
  rowsOf(
    Object.entries(all).flatMap(([name, metrics], arm) =>
      [0, 1, 2].map((seed) => ({
        name,
        seed,
        metrics: Object.fromEntries(
          Object.entries(metrics).map(([metric, value]) => [
            metric,
            value + noise * (((arm + seed) % 3) - 1),
          ]),
        ),
      })),
    ),
  )

test('curves are read between logarithms, and beyond their ends', () => {
  const points = [
    [40, 2],
    [10, 0],
    [20, 1],
  ] as const
  expect(readAt(points, 20)).toBeCloseTo(1, 12)
  expect(readAt(points, Math.sqrt(200))).toBeCloseTo(0.5, 12)
  expect(readAt(points, 80)).toBeCloseTo(3, 12)
  expect(readAt(points, 5)).toBeCloseTo(-1, 12)
})

test('a power law', () => {
  const { slope, fit } = powerLaw([1, 2, 4, 8].map((x) => [x, 3 * x ** -0.3]))
  expect(slope).toBeCloseTo(-0.3, 12)
  expect(fit).toBeCloseTo(1, 12)
  expect(
    powerLaw([
      [1, 1],
      [2, 0.4],
      [4, 1.4],
      [8, 0.9],
    ]).fit,
  ).toBeLessThan(0.5)
})

describe('topk-sae', () => {
  const rows = (topk: number, score: number, dead: number, wider = topk / Math.SQRT2, more = 43) =>
    table({
      'TopK, 1x': { 'normalised MSE': topk * 2, 'CE-loss score': score, L0: 32, dead: 0 },
      'TopK, 2x': { 'normalised MSE': topk * Math.SQRT2, 'CE-loss score': score, L0: 32, dead: 0 },
      'TopK, 4x': { 'normalised MSE': topk, 'CE-loss score': score, L0: 32, dead: 0 },
      'TopK, 8x': { 'normalised MSE': wider, 'CE-loss score': score, L0: 32, dead: 0.02 },
      'TopK, 8x, no AuxK': { 'normalised MSE': topk, 'CE-loss score': score, L0: 32, dead },
      'ReLU, L0 about 24': { 'normalised MSE': 0.5, 'CE-loss score': 0.8, L0: 24, dead: 0 },
      'ReLU, L0 about 43': { 'normalised MSE': 0.4, 'CE-loss score': 0.9, L0: more, dead: 0 },
    })
  test('all three, two, none', () => {
    expect(topkSae(rows(0.35, 0.95, 0.3)).verdict).toBe('reproduced')
    expect(topkSae(rows(0.35, 0.84, 0.3)).verdict).toBe('partly')
    const apart = topkSae(rows(0.35, 0.95, 0.3, undefined, 170))
    expect(apart.verdict).toBe('partly')
    expect(apart.reason).toContain('not on both sides of 32')
    expect(topkSae(rows(0.5, 0.8, 0.02, 0.9)).verdict).toBe('not at this scale')
  })
})

test('p-annealing: at all, at some, at none', () => {
  const rows = (mse: readonly number[], score: number, factor = 1) =>
    table(
      Object.fromEntries(
        [16, 32, 64].flatMap((l0, i) => [
          [armOf('L1', l0), { 'normalised MSE': 0.5 - 0.1 * i, 'CE-loss score': 0.8 + 0.05 * i, L0: l0 }],
          [
            armOf('p-annealing', l0),
            {
              'normalised MSE': 0.5 - 0.1 * i + mse[i]!,
              'CE-loss score': 0.8 + 0.05 * i + score,
              L0: factor * l0,
            },
          ],
        ]),
      ),
    )
  expect(pAnnealing(rows([-0.03, -0.03, -0.03], 0.02)).verdict).toBe('reproduced')
  expect(pAnnealing(rows([-0.03, -0.03, -0.03], -0.02)).verdict).toBe('partly')
  expect(pAnnealing(rows([-0.03, -0.03, -0.03], 0.02, 4)).verdict).toBe('not at this scale')
  expect(pAnnealing(rows([0.03, 0.03, 0.03], -0.02)).verdict).toBe('not at this scale')
})

test('seed-stability: TopK below ReLU at equal L0, or only below all', () => {
  const rows = (topk: number, relu: number, l0 = 33) =>
    table({
      TopK: { shared: topk, 'of the living': topk, 'decoder cosine': 0.6, L0: 32 },
      ReLU: { shared: relu, 'of the living': relu, 'decoder cosine': 0.7, L0: l0 },
      untrained: { shared: 0, 'decoder cosine': 0.2 },
    })
  expect(seedStability(rows(0.4, 0.6)).verdict).toBe('reproduced')
  expect(seedStability(rows(0.4, 0.6, 60)).verdict).toBe('partly')
  expect(seedStability(rows(0.6, 0.4)).verdict).toBe('partly')
  expect(seedStability(rows(0.95, 0.97)).verdict).toBe('not at this scale')
})

test('layer-groups: the fewest groups that lose little decide', () => {
  const rows = (lost: readonly number[], faster = 1) =>
    table({
      'one a layer': { 'explained variance': 0.8, 'CE-loss score': 0.95, seconds: 70, SAEs: 7 },
      ...Object.fromEntries(
        [1, 2, 3, 4].map((count, i) => [
          count === 1 ? '1 group' : `${count} groups`,
          {
            'explained variance': 0.8 - lost[i]!,
            'CE-loss score': 0.95 - lost[i]!,
            seconds: (10 * count) / faster,
            SAEs: count,
          },
        ]),
      ),
    })
  expect(layerGroups(rows([0.05, 0.01, 0, 0])).verdict).toBe('reproduced')
  expect(layerGroups(rows([0.05, 0.05, 0.01, 0])).verdict).toBe('partly')
  expect(layerGroups(rows([0.05, 0.05, 0.05, 0.05])).verdict).toBe('not at this scale')
  expect(layerGroups(rows([0.05, 0.01, 0, 0], 0.5)).verdict).toBe('not at this scale')
})

test('autointerp: beyond exchanged explanations and both kinds of neurons, or the first alone', () => {
  const rows = (own: number, exchanged: number, neurons: number) =>
    table({
      [arms.sae]: { detection: own, fuzzing: own, intervention: 1 },
      [arms.exchanged]: { detection: exchanged, fuzzing: exchanged },
      [arms.neurons]: { detection: neurons, fuzzing: neurons, intervention: 0.5 },
      [arms.sparsified]: { detection: neurons, fuzzing: neurons, intervention: 0.5 },
      [arms.untrained]: { detection: 0.6, fuzzing: 0.6 },
    })
  expect(autointerp(rows(0.9, 0.5, 0.8)).verdict).toBe('reproduced')
  expect(autointerp(rows(0.9, 0.5, 0.95)).verdict).toBe('partly')
  expect(autointerp(rows(0.5, 0.5, 0.4)).verdict).toBe('not at this scale')
})
