/** The verdicts of experiments at invented numbers, and what they count by themselves. */
import { describe, expect, it } from 'vitest'
import type { Experiment } from '../../src/experiments/experiment.ts'
import labelSupervised from '../../src/experiments/papers/labelSupervised.ts'
import meap from '../../src/experiments/papers/meap.ts'
import neft from '../../src/experiments/papers/neft.ts'
import patchLevel from '../../src/experiments/papers/patchLevel.ts'
import waveletGpt, { stepAt } from '../../src/experiments/papers/waveletGpt.ts'
import { rowsOf } from '../../src/experiments/result.ts'

/** Three seeds of each arm around these numbers. */
const verdict = (experiment: Experiment, arms: Readonly<Record<string, Readonly<Record<string, number>>>>) =>
  experiment.judge(
    rowsOf(
      [-1, 0, 1].flatMap((seed) =>
        Object.entries(arms).map(([name, metrics], arm) => ({
          name,
          seed: seed + 1,
          // Differences between arms vary by seed too.
          metrics: Object.fromEntries(
            Object.entries(metrics).map(([metric, value]) => [metric, value + seed * arm * 1e-4]),
          ),
        })),
      ),
    ),
  ).verdict

it('MEAP: more found, and the language not lost', () => {
  const judged = (accuracy: number, loss: number, base = 0.5) =>
    verdict(meap, { 'next-token': { accuracy: base, loss: 2 }, meap: { accuracy, loss } })
  expect(judged(0.7, 2.01)).toBe('reproduced')
  expect(judged(0.7, 2.1)).toBe('partly')
  expect(judged(0.4, 2.01)).toBe('not at this scale')
  // Both at what any word of the row gives.
  expect(judged(0.32, 2, 0.25)).toBe('not at this scale')
})

it('WaveletGPT: sooner and better', () => {
  const judged = (share: number, loss: number) =>
    verdict(waveletGpt, {
      plain: { 'share of steps': 1, loss: 2 },
      wavelet: { 'share of steps': share, loss },
    })
  expect(judged(0.55, 1.9)).toBe('reproduced')
  expect(judged(0.8, 1.9)).toBe('partly')
  expect(judged(1, 2.1)).toBe('not at this scale')
})

it('patch-level training: as good for half, or better than half', () => {
  const judged = (loss: number, GFLOP = 50) =>
    verdict(patchLevel, {
      tokens: { loss: 2, GFLOP: 100, 'CPU seconds': 10 },
      patches: { loss, GFLOP, 'CPU seconds': 6 },
      'tokens, half': { loss: 2.2, GFLOP: 50, 'CPU seconds': 5 },
    })
  expect(judged(2.01)).toBe('reproduced')
  expect(judged(2.1)).toBe('partly')
  expect(judged(2.3)).toBe('not at this scale')
  expect(judged(2.01, 90)).toBe('not at this scale')
})

it('NeFT: as good as full tuning, and better than neurons by lot', () => {
  const judged = (turned: number, random: number) =>
    verdict(neft, {
      everything: { loss: 2, forgetting: 0.4 },
      LoRA: { loss: 2.1, forgetting: 0.1 },
      ...Object.fromEntries(
        [3, 6, 12].flatMap((percent) => [
          [`turned ${percent} %`, { loss: turned, forgetting: 0.1 }],
          [`random ${percent} %`, { loss: random, forgetting: 0.1 }],
        ]),
      ),
    })
  expect(judged(1.95, 2.1)).toBe('reproduced')
  expect(judged(2.05, 2.1)).toBe('partly')
  expect(judged(2.1, 2.05)).toBe('not at this scale')
})

it('label heads: better than words on both tasks', () => {
  const judged = (sentiment: number, questions: number) =>
    verdict(labelSupervised, {
      'SST-2, words': { accuracy: 0.6 },
      'SST-2, head': { accuracy: sentiment },
      'SST-2, head, unmasked': { accuracy: 0.6 },
      'TREC, words': { accuracy: 0.6 },
      'TREC, head': { accuracy: questions },
      'TREC, head, unmasked': { accuracy: 0.6 },
    })
  expect(judged(0.7, 0.7)).toBe('reproduced')
  expect(judged(0.6, 0.7)).toBe('partly')
  expect(judged(0.5, 0.5)).toBe('not at this scale')
})

describe('the step at which a curve meets a loss', () => {
  const curve = [
    { step: 40, loss: 3 },
    { step: 80, loss: 2 },
    { step: 120, loss: 1 },
  ]
  it.each([
    [3.5, 40],
    [2, 80],
    [1.75, 90],
    [0.5, 120],
  ])('loss %f is met at step %f', (loss, step) => {
    expect(stepAt(curve, loss)).toBe(step)
  })
})
