import { expect, it } from 'vitest'
import { rowsOf } from '../result.ts'
import { judge } from './linearShortcut.ts'

/** Three seeds of a model of two layers; `better`: by how much mat leads, by number of blocks, and in layers saved. */
const verdict = (better: readonly [number, number], saved: number) =>
  judge(
    rowsOf(
      [0, 1, 2].flatMap((seed) =>
        (['id', 'mat'] as const).map((name) => {
          const lead = (amount: number): number => (name === 'mat' ? amount : 0) + seed * 1e-4
          const noise = name === 'mat' ? seed * 1e-4 : 0
          return {
            name,
            seed,
            metrics: {
              'layers saved': 0.1 + lead(saved) + noise,
              'precision@1': 0.3 + lead(better[0]),
              surprisal: 3 - lead(better[0]),
              ...Object.fromEntries(
                better.flatMap((amount, blocks) => [
                  [`precision@1 after ${blocks}`, 0.3 + lead(amount) + noise],
                  [`surprisal after ${blocks}`, 3 - lead(amount) - noise],
                ]),
              ),
            },
          }
        }),
      ),
    ),
  )

it('reproduced is better after every number of blocks, and more saved', () => {
  expect(verdict([0.1, 0.1], 0.05).verdict).toBe('reproduced')
  expect(verdict([0.1, -0.1], 0.05).verdict).toBe('partly')
  expect(verdict([0.1, 0.1], 0).verdict).toBe('partly')
  expect(verdict([0.1, 0.1], -0.05).verdict).toBe('partly')
  expect(verdict([-0.1, -0.1], -0.05).verdict).toBe('not at this scale')
  expect(verdict([0, 0], 0).verdict).toBe('not at this scale')
  expect(verdict([0.1, 0.1], 0.05).reason).toContain('after 2 of 2 numbers of blocks')
})
