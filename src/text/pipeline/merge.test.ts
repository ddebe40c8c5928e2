import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Merge, Merger } from './merge.ts'
import { PairTable } from './pairTable.ts'
import { Trie } from './trie.ts'

/** The definition: the lowest rank first, of equal ones the leftmost, one pair at a time. */
function mergeSlowly(merges: readonly Merge[], symbols: readonly number[]): number[] {
  const result = [...symbols]
  for (;;) {
    let best: { rank: number; at: number; result: number } | undefined
    for (let at = 0; at + 1 < result.length; at++) {
      const rule = merges.find(({ left, right }) => left === result[at] && right === result[at + 1])
      if (rule !== undefined && (best === undefined || rule.rank < best.rank)) best = { ...rule, at }
    }
    if (best === undefined) return result
    result.splice(best.at, 2, best.result)
  }
}

/** Merges over the symbols 0 to 3, each of which makes a new symbol from earlier ones; ranks may repeat. */
const mergeLists = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(5)), { maxLength: 12 }).map((list) => {
  const merges: Merge[] = []
  for (const [a, b, rank] of list) {
    const symbols = 4 + merges.length
    const [left, right] = [a % symbols, b % symbols]
    if (merges.some((merge) => merge.left === left && merge.right === right)) continue
    merges.push({ left, right, rank, result: symbols })
  }
  return merges
})

test('merges in the order that defines byte-pair encoding', () => {
  fc.assert(
    fc.property(mergeLists, fc.array(fc.array(fc.nat(3), { maxLength: 40 })), (merges, words) => {
      const merger = new Merger(merges)
      for (const word of words) {
        const symbols = Int32Array.from(word)
        merger.merge(symbols, word.length)
        expect([...symbols].filter((symbol) => symbol !== -1)).toEqual(mergeSlowly(merges, word))
      }
    }),
  )
})

test('a pair table is a map from pairs', () => {
  const pair = fc.tuple(fc.nat(20), fc.nat(20), fc.nat(1000))
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 300 }), (entries) => {
      const table = new PairTable()
      const map = new Map<string, number>()
      for (const [left, right, value] of entries) {
        table.set(left, right, value)
        map.set(`${left} ${right}`, value)
      }
      expect(table.size).toBe(map.size)
      for (let left = 0; left <= 20; left++) {
        for (let right = 0; right <= 20; right++) {
          expect(table.get(left, right)).toBe(map.get(`${left} ${right}`) ?? -1)
        }
      }
    }),
  )
})

test('a trie finds every string that begins at a place', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', '🙂'), minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(fc.uniqueArray(word), fc.string({ unit: fc.constantFrom('a', 'b', '🙂') }), (words, text) => {
      const trie = new Trie()
      words.forEach((key, value) => {
        trie.set(key, value)
      })
      for (let from = 0; from < text.length; from++) {
        const found: [number, number][] = []
        trie.prefixes(text, from, (to, value) => found.push([to, value]))
        const expected = words.flatMap((key, value): [number, number][] =>
          text.startsWith(key, from) ? [[from + key.length, value]] : [],
        )
        expect(found).toEqual(expected.sort(([a], [b]) => a - b))
        expect(trie.longest(text, from)).toEqual({
          to: found.at(-1)?.[0] ?? from,
          value: found.at(-1)?.[1] ?? -1,
        })
      }
    }),
  )
})
