/** LM-Steer's verdict at invented numbers, and arms that would share a file. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Experiment } from '../../src/experiments/experiment.ts'
import lmSteer from '../../src/experiments/papers/lmSteer.ts'
import { reproduce } from '../../src/experiments/reproduce.ts'
import { rowsOf } from '../../src/experiments/result.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'

/** Of all arms: share of sad texts, perplexity, share with speech. */
const arms: Readonly<Record<string, readonly [sad: number, perplexity: number, speech: number]>> = {
  'LM-Steer at -2': [0.1, 10, 0.2],
  'LM-Steer at -1': [0.2, 10, 0.2],
  nothing: [0.3, 10, 0.2],
  'LM-Steer at 1': [0.5, 11, 0.2],
  'LM-Steer at 2': [0.7, 12, 0.2],
  'LM-Steer at 4': [0.9, 14, 0.2],
  prompt: [0.4, 10, 0.2],
  LoRA: [0.6, 12, 0.2],
  'mean difference × 1': [0.4, 10, 0.2],
  'mean difference × 2': [0.6, 12, 0.2],
  'mean difference × 4': [0.9, 20, 0.2],
  'both steers': [0.5, 11, 0.5],
  'second model': [0.3, 20, 0.2],
  'transferred at -2': [0.2, 20, 0.2],
  'transferred at 2': [0.4, 20, 0.2],
}

const verdict = (changes: Partial<Record<keyof typeof arms, (typeof arms)[string]>> = {}) =>
  lmSteer.judge(
    rowsOf(
      [-1, 0, 1].flatMap((seed) =>
        Object.entries({ ...arms, ...changes }).map(([name, numbers], arm) => {
          const [sad, perplexity, speech] = numbers!
          // Differences between arms vary by seed too.
          const off = seed * arm * 1e-4
          return { name, seed: seed + 1, metrics: { sad: sad + off, perplexity, speech: speech + off } }
        }),
      ),
    ),
  ).verdict

it('asks for a monotone rate, the level of the baselines at that cost, addition and transfer', () => {
  expect(verdict()).toBe('reproduced')
  expect(verdict({ LoRA: [0.9, 12, 0.2] })).toBe('partly')
  // What costs too much does not count.
  expect(verdict({ LoRA: [0.9, 16, 0.2] })).toBe('reproduced')
  expect(verdict({ 'LM-Steer at 2': [0.95, 30, 0.2] })).toBe('partly')
  expect(verdict({ 'both steers': [0.5, 11, 0.2] })).toBe('partly')
  expect(verdict({ 'transferred at 2': [0.2, 20, 0.2] })).toBe('partly')
  expect(verdict({ 'LM-Steer at 1': [0.29, 11, 0.2] })).toBe('not at this scale')
  const nothing = {
    LoRA: [0.9, 12, 0.2],
    'both steers': [0.5, 11, 0.2],
    'transferred at 2': [0.1, 20, 0.2],
  } as const
  expect(verdict(nothing)).toBe('not at this scale')
})

it('refuses arms whose numbers would be kept in one file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'glossa-arms-'))
  await using engine = new Engine(nodeRuntime({ threads: 1 }))
  const twins: Experiment = {
    ...lmSteer,
    id: 'twins',
    async run({ arm }) {
      await arm('at +1', 0, async () => ({ sad: 1 }))
      await arm('at −1', 0, async () => ({ sad: 2 }))
    },
  }
  try {
    const options = { engine, data: folder, out: folder, runs: folder, command: '' }
    await expect(reproduce(twins, options)).rejects.toThrow(
      /'at \+1' and 'at −1' of twins have one file, .*: rename one/,
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
