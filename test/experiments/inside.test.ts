/** The verdicts of the experiments that look inside, at invented numbers, and what they draw. */
import { expect, it } from 'vitest'
import type { Experiment, Rows } from '../../src/experiments/experiment.ts'
import backwardLens from '../../src/experiments/papers/backwardLens.ts'
import nextTokenLaw from '../../src/experiments/papers/nextTokenLaw.ts'
import saturationExit from '../../src/experiments/papers/saturationExit.ts'
import valueVectors from '../../src/experiments/papers/valueVectors.ts'
import { windows } from '../../src/experiments/probe.ts'
import { rowsOf } from '../../src/experiments/result.ts'

type Arms = Readonly<Record<string, Readonly<Record<string, number>>>>
/** Three seeds of each arm around these numbers. */
const rowsAt = (arms: Arms): Rows =>
  rowsOf(
    [-1, 0, 1].flatMap((seed) =>
      Object.entries(arms).map(([name, metrics], arm) => ({
        name,
        seed: seed + 1,
        metrics: Object.fromEntries(
          Object.entries(metrics).map(([metric, value]) => [metric, value + seed * arm * 1e-5]),
        ),
      })),
    ),
  )
const verdict = (experiment: Experiment, arms: Arms) => experiment.judge(rowsAt(arms)).verdict

it('backward lens: factors are gradients, the target is read, one forward pass edits', () => {
  const edit = (probability: number, efficacy = 1, ratio = 1.01) => ({
    'target probability': probability,
    efficacy,
    'perplexity ratio': ratio,
  })
  const judged = ({ error = 1e-5, rank = 0.01, shift = edit(0.9), step = 0.9 } = {}) =>
    verdict(backwardLens, {
      factors: { 'gradient error': error, 'rank per position': 0.9 },
      VJP: { 'target rank': rank, 'target rank, layer 0': rank },
      'random vector': { 'target rank': 0.5, 'target rank, layer 0': 0.5 },
      'feed-forward input': { 'target rank': 0.3, 'target rank, layer 0': 0.3 },
      nothing: edit(0.001),
      shift,
      'SGD, same matrix and length': edit(step),
      'SGD, all matrices, own rate': edit(0.9),
      'random direction': edit(0.01, 0),
    })
  expect(judged()).toBe('reproduced')
  expect(judged({ shift: edit(0.9, 1, 1.2) })).toBe('partly')
  expect(judged({ shift: edit(0.7), step: 0.95 })).toBe('partly')
  expect(judged({ rank: 0.2 })).toBe('partly')
  expect(judged({ rank: 0.2, shift: edit(0.2, 0.1) })).toBe('not at this scale')
  expect(judged({ error: 0.1 })).toBe('not at this scale')
})

it('the law: a straight line, which training makes', () => {
  const law = (correlation: number) => ({
    ...{ correlation, decay: 0.97, 'last to first': 0.8, 'held-out correlation': correlation },
    'residual, layer 1': 0.9,
    'residual, layer 2': 0.8,
  })
  const arms = (trained: number, untrained: number): Arms => ({
    untrained: law(untrained),
    'step 30': law(0),
    'step 100': law(-0.5),
    trained: law(trained),
    'trained, tokens by lot': law(0),
    bundled: law(-0.99),
  })
  expect(verdict(nextTokenLaw, arms(-0.98, 0.3))).toBe('reproduced')
  expect(verdict(nextTokenLaw, arms(-0.85, 0.3))).toBe('partly')
  expect(verdict(nextTokenLaw, arms(-0.98, -0.98))).toBe('not at this scale')
  expect(verdict(nextTokenLaw, arms(-0.5, 0.3))).toBe('not at this scale')
  const drawn = nextTokenLaw.plot!(rowsAt(arms(-0.98, 0.3)))
  expect(drawn).toContain('tokens by lot')
  expect(drawn).toContain('layer')
})

it('value vectors: a quarter fewer than without and fewer than by lot; promotion above elimination', () => {
  const judged = ({ joy = 0.3, lot = 0.5, saturation = 0.2, elimination = -0.05 } = {}) =>
    verdict(valueVectors, {
      nothing: { 'negative texts': 0.5, 'perplexity ratio': 1 },
      joy: { 'negative texts': joy, 'perplexity ratio': 1.2 },
      'by lot': { 'negative texts': lot, 'perplexity ratio': 1.2 },
      saturation: { 'promotion in logits': saturation },
      elimination: { 'promotion in logits': elimination },
      'any token': { 'promotion in logits': 0 },
    })
  expect(judged()).toBe('reproduced')
  expect(judged({ joy: 0.4 })).toBe('partly')
  expect(judged({ lot: 0.3 })).toBe('partly')
  expect(judged({ elimination: -0.4 })).toBe('partly')
  expect(judged({ joy: 0.5, saturation: -0.1 })).toBe('not at this scale')
})

it('saturation: layers saved, at an agreement that the same exits by lot do not have', () => {
  const judged = (agreement: number, saved: number, lot = 0.6) =>
    verdict(saturationExit, {
      'by lot': { agreement: lot, 'layers saved': saved },
      'by clusters': { agreement, 'layers saved': saved },
      'at saturation': { agreement: 1, 'layers saved': 0.4 },
    })
  expect(judged(0.94, 0.2)).toBe('reproduced')
  expect(judged(0.94, 0.05)).toBe('partly')
  expect(judged(0.8, 0.2)).toBe('partly')
  expect(judged(0.94, 0.2, 0.94)).toBe('not at this scale')
})

it('windows are of one length, apart, from the part asked for, and the same for a seed', () => {
  const tokens = Int32Array.from({ length: 100 }, (_, i) => i)
  const drawn = windows(tokens, { count: 5, length: 10, seed: 3, from: 0.5 })
  expect(drawn.map((row) => row.length)).toEqual([10, 10, 10, 10, 10])
  expect(drawn.flat().sort((a, b) => a - b)).toEqual([...tokens.slice(50)])
  expect(windows(tokens, { count: 5, length: 10, seed: 3, from: 0.5 })).toEqual(drawn)
  expect(windows(tokens, { count: 5, length: 10, seed: 4 })).not.toEqual(
    windows(tokens, { count: 5, length: 10, seed: 5 }),
  )
  expect(() => windows(tokens, { count: 6, length: 10, seed: 3, from: 0.5 })).toThrow(
    /5 windows of 10 tokens/,
  )
})
