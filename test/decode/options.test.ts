/** docs/generation.md says what is so. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { type GenerateOptions, generateSchema, parseOptions, rulesOf } from '../../src/decode/index.ts'
import { checkBeams } from '../../src/decode/options.ts'

const page = readFileSync(new URL('../../docs/generation.md', import.meta.url), 'utf8')
const rows = [...page.matchAll(/^\| (\w+) \| (.*?) \| (.*?) \| (.*?) \|/gm)]
  .map(([, option, greedy, sampling, beams]) => ({ option: option!, greedy, sampling, beams }))
  .filter(({ option }) => option !== 'option')

/** A value of each option that is not its default. */
const examples: Readonly<Record<string, unknown>> = {
  ...{
    topK: 3,
    topP: 0.5,
    minP: 0.1,
    typicalP: 0.5,
    topNSigma: 1,
    repetitionPenalty: 1.1,
    presencePenalty: 1,
  },
  ...{ frequencyPenalty: 1, logitBias: { 1: 1 }, dryMultiplier: 1, dryBase: 2, dryAllowedLength: 3 },
  ...{
    dryBreakers: ['x'],
    xtcProbability: 0.5,
    xtcThreshold: 0.2,
    mirostat: 2,
    mirostatTau: 3,
    mirostatEta: 0.2,
  },
  ...{ samples: 2, beamGroups: 2, diversityPenalty: 1, lengthPenalty: 2, earlyStopping: true, stop: ['x'] },
  ...{ stopTokens: [1], seed: 1, logprobs: 1, promptLogprobs: true, maxTokens: 3 },
}

/** Whether a path takes the option; what it refuses, it refuses by name. */
function takes(option: string, path: GenerateOptions): boolean {
  try {
    const settings = parseOptions({ ...path, [option]: examples[option] })
    checkBeams(settings)
    rulesOf(settings)
    return true
  } catch (error) {
    expect((error as Error).message).toContain(option === 'stop' ? 'stop texts' : option)
    return false
  }
}

it('every option is in the table, and no other', () => {
  expect(rows.map(({ option }) => option).sort()).toEqual(Object.keys(generateSchema.shape).sort())
})

const paths = {
  greedy: { temperature: 0 },
  sampling: { temperature: 1 },
  beams: { temperature: 0, beams: 4 },
}
for (const row of rows) {
  if (!(row.option in examples)) continue
  it.each(Object.entries(paths))(`${row.option}: %s`, (path, options) => {
    expect(takes(row.option, options)).toBe(row[path as keyof typeof paths] !== 'refused')
  })
}
