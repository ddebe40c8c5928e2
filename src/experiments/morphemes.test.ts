import { expect, test } from 'vitest'
import type { Tokenizer } from '../text/index.ts'
import { boundaryScores, pronunciations, segment } from './morphemes.ts'

const phones = pronunciations(
  [
    'jump JH AH1 M P',
    'jumps JH AH1 M P S',
    'jumped JH AH1 M P T',
    'jumping JH AH1 M P IH0 NG',
    'jumper JH AH1 M P ER0',
    'numb N AH1 M',
    'number N AH1 M B ER0',
    'happy HH AE1 P IY0',
    'happy(2) HH AE1 P',
    'unhappy AH0 N HH AE1 P IY0',
    'sun S AH1 N',
    'shine SH AY1 N',
    'sunshine S AH1 N SH AY2 N',
    'car K AA1 R # a comment',
    'pet P EH1 T',
    'carpet K AA1 R P AH0 T',
    'careless K EH1 R L AH0 S',
    'care K EH1 R',
    'thing TH IH1 NG',
    'red R EH1 D',
  ].join('\n'),
)

test('words are cut where the corpus and the pronunciation say so', () => {
  const words = new Set(phones.keys())
  expect(Object.fromEntries(segment(words, phones))).toEqual({
    jumps: [4],
    jumped: [4],
    jumping: [4],
    jumper: [4],
    unhappy: [2],
    sunshine: [3],
    careless: [4],
  })
  // Without a second form nothing shows that the stem is a verb.
  expect(segment(new Set(['jump', 'jumped']), phones).size).toBe(0)
})

/** Cuts where a word has a bar. */
const cutting = (spelled: Record<string, string>) =>
  ({
    encode(text: string) {
      const parts = spelled[text.trim()]!.split('|')
      let at = 0
      const offsets = parts.map((part, i) => {
        const start = at
        at += part.length + (i === 0 ? 1 : 0)
        return [start, at] as const
      })
      return { ids: parts.map(() => 0), tokens: parts, offsets }
    },
  }) as unknown as Tokenizer

test('boundary scores: of 3 cuts made 2 are among the 3 that are right', () => {
  const gold = new Map([
    ['jumped', [4]],
    ['sunshine', [3]],
    ['unhappy', [2]],
  ])
  const tokenizer = cutting({ jumped: 'jump|ed', sunshine: 'suns|hine', unhappy: 'un|happy' })
  expect(boundaryScores(tokenizer, gold)).toEqual({
    precision: expect.closeTo(2 / 3, 12),
    recall: expect.closeTo(2 / 3, 12),
    f1: expect.closeTo(2 / 3, 12),
  })
  const whole = cutting({ jumped: 'jumped', sunshine: 'sunshine', unhappy: 'unhappy' })
  expect(boundaryScores(whole, gold)).toEqual({ precision: 0, recall: 0, f1: 0 })
})
