/** Beam search against Hugging Face's; see test/fixtures/decode/beams.py. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { beamSearch, complete } from '../../src/decode/index.ts'
import { Model } from '../../src/model/index.ts'
import { Engine, nodeRuntime } from '../../src/onnx/index.ts'
import { fixture } from '../reference.ts'

interface Case {
  prompt: number[]
  beams: number
  lengthPenalty: number
  earlyStopping: boolean
  ends: number[]
  sequences: number[][]
  scores: number[]
}
const { model: folder, cases } = JSON.parse(readFileSync(fixture('decode/beams.json'), 'utf8')) as {
  model: string
  cases: Case[]
}
const engine = new Engine(nodeRuntime({ threads: 1 }))
afterAll(() => engine.dispose())
const model = Model.open(fixture(folder), engine)

it.each(cases.map((entry, i) => [i, entry] as const))(
  'finds the beams that transformers finds (%i)',
  async (_, entry) => {
    const { prompt, sequences, scores, ...options } = entry
    const found = await beamSearch(model, prompt, { ...options, maxTokens: 12 })
    expect(found.map(({ tokens }) => tokens)).toEqual(sequences)
    found.forEach(({ score }, i) => {
      expect(score).toBeCloseTo(scores[i]!, 3)
    })
  },
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
