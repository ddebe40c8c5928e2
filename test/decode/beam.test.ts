/** Beam search against Hugging Face's; see beams.py and diverse.py in test/fixtures/decode. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { beamSearch, complete } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { fixture } from '../reference.ts'

interface Case {
  prompt: number[]
  beams: number
  groups?: number
  diversityPenalty?: number
  lengthPenalty: number
  earlyStopping: boolean
  ends: number[]
  sequences: number[][]
  scores: number[]
}
const read = (name: string): { model: string; cases: Case[] } =>
  JSON.parse(readFileSync(fixture(`decode/${name}.json`), 'utf8'))
const [plain, diverse] = [read('beams'), read('diverse')]
const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = Model.open(fixture(plain.model), engine)
const other = Model.open(fixture(diverse.model), engine)

async function compare(model: Model, { prompt, sequences, scores, ...options }: Case): Promise<void> {
  const found = await beamSearch(model, prompt, { ...options, maxTokens: 12 })
  expect(found.map(({ tokens }) => tokens)).toEqual(sequences)
  found.forEach(({ score }, i) => {
    expect(score).toBeCloseTo(scores[i]!, 4)
  })
}

it.each(plain.cases.map((entry, i) => [i, entry] as const))(
  'finds the beams that transformers finds (%i)',
  (_, entry) => compare(model, entry),
)

it.each(diverse.cases.map((entry, i) => [i, entry] as const))(
  'finds the diverse beams that transformers 4 found (%i)',
  (_, entry) => compare(other, entry),
)

describe('what must hold', () => {
  const prompt = [7, 20, 33, 46, 59]

  it('one beam is greedy', async () => {
    const [beam] = await beamSearch(model, prompt, { beams: 1, maxTokens: 10 })
    const [greedy] = await complete(model, [prompt], { temperature: 0, maxTokens: 10, stopTokens: [] })
    expect(beam!.tokens).toEqual(greedy!.tokens)
  })

  it('groups without a penalty are the same search several times', async () => {
    const plain = await beamSearch(model, prompt, { beams: 2, maxTokens: 8 })
    const groups = await beamSearch(model, prompt, { beams: 6, groups: 3, maxTokens: 8 })
    for (const { tokens } of plain)
      expect(groups.filter((other) => `${other.tokens}` === `${tokens}`)).toHaveLength(3)
  })

  it('a penalty makes groups differ, from the first token on', async () => {
    const groups = await beamSearch(model, prompt, {
      beams: 3,
      groups: 3,
      diversityPenalty: 100,
      maxTokens: 6,
    })
    for (let t = 0; t < 6; t++) expect(new Set(groups.map(({ tokens }) => tokens[t])).size).toBe(3)
  })

  it.each([
    [{ beams: 0 }, /beams must be/],
    [{ beams: 4, groups: 3 }, /must divide/],
    [{ beams: 4, diversityPenalty: 1 }, /needs beamGroups/],
  ])('refuses %o', async (options, message) => {
    await expect(beamSearch(model, prompt, options)).rejects.toThrow(message)
  })
})
