import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Features } from './features.ts'
import { defaultSkipGrams, loadSnm, saveSnm, trainSnm } from './index.ts'
import { countFeatures, learnEvent } from './snm.ts'

const rows = [[0, 1, 0, 2, 0, 1, 3, 3, 0], [0, 1], [2, 0, 1, 3, 0, 1], [4]]
const vocabulary = 6
const skipGrams = [
  { remote: 1, skip: 1, adjacent: 1 },
  { remote: 2, skip: 1, adjacent: 0 },
  { remote: 1, skip: 2, upTo: 4, adjacent: 0 },
]

/** The features of a place, spelled out. */
function spelled(row: readonly number[], at: number): string[] {
  const padded = ['^', ...row]
  const end = at + 1
  const result: string[] = []
  for (let length = 0; length < 3 && length <= end; length++)
    result.push(`n${length}:${padded.slice(end - length, end)}`)
  for (const [kind, { remote, skip, upTo = skip, adjacent }] of skipGrams.entries())
    for (let gap = skip; gap <= upTo; gap++) {
      const from = end - adjacent - gap - remote
      if (from < 0) continue
      result.push(`s${kind}:${padded.slice(from, from + remote)}|${padded.slice(end - adjacent, end)}`)
    }
  return [...new Set(result)]
}

test('features are those that are spelled out: equal where these are, and of the same number', () => {
  const features = new Features(3, skipGrams, vocabulary)
  const names = new Map<number, string>()
  for (const row of rows)
    for (let at = 0; at < row.length; at++) {
      const count = features.read(row, at, true)
      const found = spelled(row, at)
      expect(count).toBe(found.length)
      for (const [j, name] of found.entries()) {
        const feature = features.active[j]!
        expect(names.get(feature) ?? name).toBe(name)
        names.set(feature, name)
      }
    }
  expect(new Set(names.values()).size).toBe(names.size)
})

test('worked: without adjustment, the mean of the relative frequencies of the features', () => {
  // Of single tokens 0, 1, 2: 3/6, 2/6, 1/6. Behind 0: 1 twice and 2 once.
  const toy = [
    [0, 1, 0, 2],
    [0, 1],
  ]
  const model = trainSnm(toy, { order: 2, vocabulary: 3, events: 0, floor: 0 })
  expect([...model.distribution([0])]).toEqual(
    [3 / 6 / 2, (2 / 6 + 2 / 3) / 2, (1 / 6 + 1 / 3) / 2].map((value) => expect.closeTo(value, 6)),
  )
})

test('the gradient is that of the loss with each event counted out of the corpus', () => {
  /** A by what is left of the counts: of kinds, and of how often a pair was seen. */
  const weights = [0.3, -0.2, 0.1, 0.4, -0.5, 0.2]
  const slope = -0.15
  const a = (kind: number, together: number) => weights[kind]! + slope * Math.log(together)
  const kindOf = (name: string) => (name[0] === 'n' ? Number(name[1]) : 3 + Number(name[1]))

  /** Σ over events of Σ_v y[v] - log y[target], everything counted anew without the event. */
  const loss = (): number => {
    let sum = 0
    for (const [i, row] of rows.entries())
      for (let at = 0; at < row.length; at++) {
        const seen = new Map<string, number>()
        const together = new Map<string, number>()
        for (const [k, other] of rows.entries())
          for (let place = 0; place < other.length; place++) {
            if (k === i && place === at) continue
            for (const name of spelled(other, place)) {
              seen.set(name, (seen.get(name) ?? 0) + 1)
              const pair = `${name}>${other[place]}`
              together.set(pair, (together.get(pair) ?? 0) + 1)
            }
          }
        let [all, target] = [0, 0]
        for (const name of spelled(row, at))
          for (let token = 0; token < vocabulary; token++) {
            const both = together.get(`${name}>${token}`) ?? 0
            if (both === 0) continue
            const entry = (Math.exp(a(kindOf(name), both)) * both) / seen.get(name)!
            all += entry
            if (token === row[at]) target += entry
          }
        // A token that was seen once is predicted by nothing; such an event has no positive part.
        sum += all - (target > 0 ? Math.log(target) : 0)
      }
    return sum
  }

  const counts = countFeatures(rows, new Features(3, skipGrams, vocabulary), vocabulary)
  const gradient = weights.map(() => 0)
  let kind = 0
  for (const row of rows)
    for (let at = 0; at < row.length; at++)
      learnEvent(
        counts,
        (asked, _feature, _target, _seen, together) => {
          kind = asked
          return a(asked, together)
        },
        (value) => {
          gradient[kind]! += value
        },
        row,
        at,
      )
  for (let i = 0; i < weights.length; i++) {
    const [before, step] = [weights[i]!, 1e-5]
    weights[i] = before + step
    const above = loss()
    weights[i] = before - step
    const below = loss()
    weights[i] = before
    expect(gradient[i]).toBeCloseTo((above - below) / (2 * step), 5)
  }
})

test('distributions sum to 1 and agree with scores; saved models are the same; seeds repeat', () => {
  const folder = mkdtempSync(join(tmpdir(), 'glossa-snm-'))
  const options = { order: 3, skipGrams: [...skipGrams], vocabulary, events: 200, bits: 10, seed: 3 }
  const model = trainSnm(rows, options)
  const path = join(folder, 'snm.safetensors')
  saveSnm(path, model)
  const [loaded, again] = [loadSnm(path), trainSnm(rows, options)]
  for (const row of [...rows, [5, 5, 0, 1], [3, 2, 1, 0, 4, 5]]) {
    const scores = model.logProbabilities(row)
    expect(loaded.logProbabilities(row)).toEqual(scores)
    expect(again.logProbabilities(row)).toEqual(scores)
    for (let i = 0; i < row.length; i++) {
      const distribution = model.distribution(row.slice(0, i))
      expect(distribution.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 10)
      expect(Math.log(distribution[row[i]!]!)).toBeCloseTo(scores[i]!, 10)
    }
  }
  expect(trainSnm(rows, { ...options, seed: 4 }).logProbabilities(rows[0]!)).not.toEqual(
    model.logProbabilities(rows[0]!),
  )
  writeFileSync(path, Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{}')]))
  expect(() => loadSnm(path)).toThrow('is no SNM model')
  rmSync(folder, { recursive: true })
})

test('the adjustment learns how little a pair that was seen once says', () => {
  // Tokens are drawn without regard to what is before: longer contexts say nothing, and lose their weight.
  let state = 7
  const draw = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return Math.floor((state / 2 ** 32) ** 2 * 40)
  }
  const noise = [Array.from({ length: 3000 }, draw)]
  const held = Array.from({ length: 1000 }, draw)
  const loss = (events: number) =>
    -trainSnm(noise, { order: 3, vocabulary: 40, events, bits: 14 })
      .logProbabilities(held)
      .reduce((sum, value) => sum + value / held.length, 0)
  expect(loss(20_000)).toBeLessThan(loss(0) - 0.05)
})

test('what cannot be is refused', () => {
  expect(() => trainSnm([[0, 9]], { vocabulary: 9 })).toThrow('token 9 is outside')
  expect(() => trainSnm([], { vocabulary: 9 })).toThrow('no tokens to count')
  const backwards = { remote: 1, skip: 3, upTo: 2, adjacent: 0 }
  expect(() => trainSnm([[0]], { vocabulary: 9, skipGrams: [backwards] })).toThrow('skips none')
  expect(defaultSkipGrams.length).toBe(12)
})
