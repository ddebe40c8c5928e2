/** Rules against Hugging Face's processors and published definitions; see test/fixtures/decode/make.py. */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseOptions, type Rule, rulesOf } from '../../src/decode/index.ts'
import * as rules from '../../src/decode/rules/index.ts'
import { fixture } from '../reference.ts'

type Numbers = (number | null)[]
// Of many kinds: the fixture says which.
// biome-ignore lint/suspicious/noExplicitAny: read from JSON, and checked by what the rules make of it
type Options = any
interface Single {
  rule: string
  options: Options
  logits: Numbers
  tokens: number[]
  promptLength: number
  result: Numbers
}
interface Sequence {
  rule: string
  options: rules.MirostatOptions
  rows: Numbers[]
  results: Numbers[]
  chosen: number[]
}
const { cases } = JSON.parse(readFileSync(fixture('decode/rules.json'), 'utf8')) as {
  cases: (Single | Sequence)[]
}

/** null stands for -Infinity. */
const values = (numbers: Numbers): Float32Array =>
  Float32Array.from(numbers, (value) => value ?? Number.NEGATIVE_INFINITY)

const make: Readonly<Record<string, (options: Options) => Rule>> = {
  temperature: ({ value }) => rules.temperature(value),
  topK: ({ k }) => rules.topK(k),
  topP: ({ mass }) => rules.topP(mass),
  minP: ({ share }) => rules.minP(share),
  typical: ({ mass }) => rules.typical(mass),
  repetitionPenalty: ({ penalty }) => rules.repetitionPenalty(penalty),
  logitBias: ({ bias }) => rules.logitBias(bias),
  occurrencePenalty: (options) => rules.occurrencePenalty(options),
  dry: ({ breakers, ...rest }) => rules.dry({ ...rest, breakers: new Set(breakers) }),
  xtc: (options) => rules.xtc(options),
}

function expectClose(actual: Float32Array, expected: Float32Array): void {
  for (let i = 0; i < expected.length; i++)
    if (Number.isFinite(expected[i]!)) expect(actual[i], `token ${i}`).toBeCloseTo(expected[i]!, 4)
    else expect(actual[i], `token ${i}`).toBe(Number.NEGATIVE_INFINITY)
}

describe('a rule does what its definition says', () => {
  cases.forEach((entry, i) => {
    it(`${entry.rule} (${i})`, () => {
      if ('rows' in entry) {
        const rule = (entry.rule === 'mirostat1' ? rules.mirostat1 : rules.mirostat2)(entry.options)
        const tokens = [0]
        entry.rows.forEach((row, step) => {
          const logits = values(row)
          rule(logits, { tokens, promptLength: 1, random: () => 0 })
          expectClose(logits, values(entry.results[step]!))
          tokens.push(entry.chosen[step]!)
        })
        return
      }
      const logits = values(entry.logits)
      const { tokens, promptLength } = entry
      make[entry.rule]!(entry.options)(logits, { tokens, promptLength, random: () => 0 })
      expectClose(logits, values(entry.result))
    })
  })
})

it('XTC leaves the logits alone as often as it is asked to', () => {
  const logits = Float32Array.of(1, 1, 1)
  rules.xtc({ probability: 0.5, threshold: 0.1 })(logits, { tokens: [0], promptLength: 1, random: () => 0.5 })
  expect([...logits]).toEqual([1, 1, 1])
})

it('options of strength 0 make no rule', () => {
  expect(rulesOf(parseOptions({ temperature: 1 }))).toEqual([])
  expect(rulesOf(parseOptions({ temperature: 0 }))).toEqual([])
})

it.each([
  [{ mirostat: 2, topK: 5 }, /mirostat replaces topK/],
  [{ mirostat: 1, temperature: 0 }, /mirostat needs a temperature/],
  [{ xtcProbability: 0.5, temperature: 0 }, /xtcProbability needs a temperature/],
] as const)('refuses %o', (options, message) => {
  expect(() => rulesOf(parseOptions(options))).toThrow(message)
})

it('names a token that the model does not have', () => {
  const rule = rules.logitBias({ 99: 1 })
  expect(() => rule(new Float32Array(4), { tokens: [0], promptLength: 1, random: () => 0 })).toThrow(
    /token 99/,
  )
})
