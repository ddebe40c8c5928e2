/** What experiments of papers count by themselves, and that every result on file is of an experiment that there is. */
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { experiments } from '../../src/experiments/catalogue.ts'
import { Rows } from '../../src/experiments/experiment.ts'
import { stepAt } from '../../src/experiments/papers/waveletGpt.ts'
import { readResults } from '../../src/experiments/result.ts'

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

it('results are of experiments, and what was decided follows from their rows', async () => {
  const all = new Map((await experiments()).map((one) => [one.id, one]))
  for (const [id, result] of readResults(fileURLToPath(new URL('../../results/', import.meta.url)))) {
    const found = all.get(id)
    expect(found, id).toBeDefined()
    expect(result.version, id).toBe(found!.version)
    expect(found!.judge(new Rows(result.rows)), id).toEqual({
      verdict: result.verdict,
      reason: result.reason,
    })
  }
})
