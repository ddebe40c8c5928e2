/** What the experiments that steer through sparse autoencoders find in made-up rows. */
import { expect, test } from 'vitest'
import { rowsOf } from '../result.ts'
import lfSteering from './lfSteering.ts'
import scar from './scar.ts'
import steeredPaths from './steeredPaths.ts'
import steeredQueries from './steeredQueries.ts'

/** Three seeds of each arm, a hundredth apart. */
const made = (arms: Readonly<Record<string, Readonly<Record<string, number>>>>) =>
  rowsOf(
    Object.entries(arms).flatMap(([name, metrics]) =>
      [-1, 0, 1].map((seed) => ({
        name,
        seed: seed + 1,
        metrics: Object.fromEntries(
          Object.entries(metrics).map(([metric, value]) => [metric, value + (value && seed * 0.001)]),
        ),
      })),
    ),
  )

test('steered queries', () => {
  const verdict = (ours: number, vector: number) =>
    steeredQueries.judge(
      made({
        unsteered: { 'target rate': 0.5, 'loss increase': 0 },
        'gradient on sparse queries': { 'target rate': ours, 'loss increase': 0.1 },
        'mean difference of queries': { 'target rate': vector, 'loss increase': 0.1 },
        'mean difference of the stream': { 'target rate': 0.8, 'loss increase': 0.1 },
      }),
    ).verdict
  expect(verdict(0.65, 0.6)).toBe('reproduced')
  expect(verdict(0.65, 0.75)).toBe('partly')
  expect(verdict(0.53, 0.51)).toBe('not at this scale')
})

test('steered paths', () => {
  const verdict = (ours: number, vector: number, broken: number) =>
    steeredPaths.judge(
      made({
        unsteered: { 'target rate': 0.5, broken: 0.01 },
        told: { 'target rate': 0.95, broken: 0.01 },
        'gradient on sparse queries': { 'target rate': ours, broken },
        'mean difference of queries': { 'target rate': vector, broken: 0.02 },
        'mean difference of the stream': { 'target rate': 0.5, broken: 0.02 },
      }),
    ).verdict
  expect(verdict(0.65, 0.66, 0.02)).toBe('reproduced')
  expect(verdict(0.65, 0.75, 0.02)).toBe('partly')
  expect(verdict(0.65, 0.6, 0.1)).toBe('not at this scale')
  expect(verdict(0.53, 0.51, 0.01)).toBe('not at this scale')
})

test('SCAR', () => {
  const verdict = (area: number, rate: number, monotone: number) =>
    scar.judge(
      made({
        'best unconditioned latent': { AUC: 0.8, 'target rate': 0.52, 'loss increase': 0.1 },
        SCAR: { AUC: area, 'target rate': rate, 'loss increase': 0.1, 'monotone steps': monotone },
        dense: { AUC: 0.95, 'target rate': 0.7, 'loss increase': 0.1 },
      }),
    ).verdict
  expect(verdict(0.9, 0.6, 1)).toBe('reproduced')
  expect(verdict(0.9, 0.6, 0.5)).toBe('partly')
  expect(verdict(0.81, 0.6, 1)).toBe('partly')
  expect(verdict(0.81, 0.52, 1)).toBe('not at this scale')
})

test('LF-Steering', () => {
  const verdict = (agreement: number, dense: number, accuracy: number, cost: number) =>
    lfSteering.judge(
      made({
        unsteered: { agreement: 0.6, accuracy: 0.5, 'loss increase': 0 },
        'LF-Steering': { agreement, accuracy, 'loss increase': cost },
        'dense vector': { agreement: dense, accuracy: 0.5, 'loss increase': 0.01 },
      }),
    ).verdict
  expect(verdict(0.7, 0.65, 0.5, 0.01)).toBe('reproduced')
  expect(verdict(0.7, 0.75, 0.5, 0.01)).toBe('partly')
  expect(verdict(0.7, 0.65, 0.4, 0.01)).toBe('not at this scale')
  expect(verdict(0.7, 0.65, 0.5, 0.1)).toBe('not at this scale')
  expect(verdict(0.61, 0.6, 0.5, 0.01)).toBe('not at this scale')
})
