/** Schedules against their closed forms. */
import { describe, expect, it } from 'vitest'
import { makeSchedule, type ScheduleRecipe, schedules } from './schedules.ts'

const at = (recipe: ScheduleRecipe, ...steps: number[]): number[] => steps.map(makeSchedule(recipe))
const close = (actual: readonly number[], expected: readonly number[]): void => {
  expect(actual.length).toBe(expected.length)
  actual.forEach((value, i) => {
    expect(value).toBeCloseTo(expected[i]!, 12)
  })
}
const root = Math.SQRT1_2

describe('schedules', () => {
  it.each<[string, ScheduleRecipe, steps: number[], factors: number[]]>([
    ['constant', { kind: 'constant' }, [0, 1, 1e9], [1, 1, 1]],
    ['constant, warm-up', { kind: 'constant', warmup: 4 }, [0, 1, 2, 3, 4, 99], [0.25, 0.5, 0.75, 1, 1, 1]],
    ['linear', { kind: 'linear', steps: 10 }, [0, 1, 5, 9, 10, 11], [1, 0.9, 0.5, 0.1, 0, 0]],
    [
      'linear, warm-up and floor',
      { kind: 'linear', steps: 12, warmup: 2, floor: 0.2 },
      [0, 1, 2, 7, 12, 20],
      [0.5, 1, 1, 0.6, 0.2, 0.2],
    ],
    [
      'cosine',
      { kind: 'cosine', steps: 8 },
      [0, 2, 4, 6, 8, 9],
      [1, (1 + root) / 2, 0.5, (1 - root) / 2, 0, 0],
    ],
    [
      'cosine, warm-up and floor',
      { kind: 'cosine', steps: 11, warmup: 5, floor: 0.1 },
      [4, 5, 7, 8, 9, 11],
      [1, 1, 0.1 + 0.9 * 0.75, 0.55, 0.1 + 0.9 * 0.25, 0.1],
    ],
    [
      'wsd, linear',
      { kind: 'wsd', steps: 20, warmup: 2, decay: 8 },
      [0, 1, 2, 12, 13, 16, 20, 21],
      [0.5, 1, 1, 1, 0.875, 0.5, 0, 0],
    ],
    [
      'wsd, 1-sqrt and floor',
      { kind: 'wsd', steps: 20, decay: 16, shape: '1-sqrt', floor: 0.5 },
      [0, 4, 5, 8, 13, 20],
      [1, 1, 0.875, 0.75, 0.625, 0.5],
    ],
    // Vaswani et al.: min(s / w, √(w / s)) for the step s = 1, 2, ...
    [
      'inverse-sqrt',
      { kind: 'inverse-sqrt', warmup: 4 },
      [0, 3, 4, 15, 63, 99],
      [0.25, 1, Math.sqrt(4 / 5), 0.5, 0.25, 0.2],
    ],
    [
      'inverse-sqrt, timescale',
      { kind: 'inverse-sqrt', warmup: 2, timescale: 10 },
      [1, 2, 11, 91],
      [1, Math.sqrt(10 / 11), root, Math.sqrt(0.1)],
    ],
    ['inverse-sqrt, no warm-up', { kind: 'inverse-sqrt' }, [0, 2], [root, 0.5]],
  ])('%s', (_, recipe, steps, factors) => {
    close(at(recipe, ...steps), factors)
  })

  it('every one stays in [0, 1] and rises only in the warm-up', () => {
    for (const kind of Object.keys(schedules)) {
      const sized = kind === 'constant' || kind === 'inverse-sqrt' ? {} : { steps: 50 }
      const factor = makeSchedule({ kind, warmup: 10, ...sized, ...(kind === 'wsd' && { decay: 20 }) })
      const all = Array.from({ length: 60 }, (_, step) => factor(step))
      expect(all[9]).toBe(1)
      all.forEach((value, step) => {
        expect(value >= 0 && value <= 1).toBe(true)
        if (step > 0) expect(step < 10 ? value > all[step - 1]! : value <= all[step - 1]!).toBe(true)
      })
    }
  })

  it.each([
    [{ kind: 'sine' }, "there is no kind 'sine'; there are: constant, linear, cosine, wsd, inverse-sqrt"],
    [{}, "needs an object with a 'kind'"],
    [{ kind: 'cosine' }, "schedule 'cosine': steps: "],
    [{ kind: 'cosine', steps: 5, flor: 1 }, "there is no option 'flor'; there are: warmup, steps, floor"],
    [{ kind: 'cosine', steps: 5, warmup: 5 }, '5 steps of warm-up do not fit into 5 steps'],
    [{ kind: 'wsd', steps: 9, warmup: 5, decay: 5 }, '5 steps of warm-up and 5 of decay do not fit into 9'],
    [{ kind: 'wsd', steps: 9, decay: 5, shape: 'cosine' }, 'shape: '],
    [{ kind: 'linear', steps: 9, floor: 2 }, 'floor: '],
  ])('refuses %j', (recipe, message) => {
    expect(() => makeSchedule(recipe)).toThrow(message)
  })
})
