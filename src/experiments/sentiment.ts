/**
 * Happy and sad sentences of TinyStories, labelled by a rule, and a classifier that never sees what the rule looks at.
 *
 * The rule: a text is two neighbouring sentences of a story, 8 to 50 words. It is happy where the lexicon (VADER, Hutto
 * and Gilbert 2014) has a word of valence 1 or more in it and none of −1 or less, sad the other way round, and otherwise
 * neither. Texts to learn from are of the first half of the stories; the classifier is naive Bayes over words and pairs
 * of the second half, without any word of the lexicon: it goes by what surrounds them.
 */
import { NaiveBayes, wordsOf } from '../ngram/index.ts'
import { shuffled } from '../train/data/random.ts'
import { openText } from '../train/data/text.ts'
import type { ExperimentContext } from './experiment.ts'
import { storyFiles } from './small.ts'
import { valenceLexicon } from './valence.ts'

export interface Sentiment {
  /** As many of each, in an order that the seed 0 decides. */
  readonly happy: readonly string[]
  readonly sad: readonly string[]
  /** Beginnings of stories of the second half: a first sentence that is neither. */
  readonly prompts: readonly string[]
  /** How often the classifier agrees with the rule on texts of the second half that it has not learned from. */
  readonly agreement: number
  /** By the classifier. */
  readonly isHappy: (text: string) => boolean
  /** By the rule: its words, and none of the others. */
  readonly saysHappy: (text: string) => boolean
  /** Texts with direct speech and without, of the first half: another style. */
  readonly spoken: readonly string[]
  readonly told: readonly string[]
}

/** Of each kind. */
const learned = 1000

export async function openSentiment(context: ExperimentContext): Promise<Sentiment> {
  const { data, note } = context
  note(`reading ${storyFiles[0]} ...`)
  const rows = await openText(data(storyFiles[0]))
  const stories: string[] = []
  for (let i = 0; i < rows.length; i++) stories.push(((await rows.at(i)) as { text: string }).text)
  const valence = valenceLexicon(context)
  const mood = (text: string): number => {
    const values = wordsOf(text).map((word) => valence.get(word) ?? 0)
    const [happy, sad] = [values.some((value) => value >= 1), values.some((value) => value <= -1)]
    return Number(happy) - Number(sad)
  }
  const half = Math.floor(stories.length / 2)
  const ours = shuffled(stories.slice(0, half).flatMap(pairsOf), 0)
  const theirs = shuffled(stories.slice(half).flatMap(pairsOf), 0)
  const [happy, sad] = both(
    ours,
    (text) => mood(text) > 0,
    (text) => mood(text) < 0,
    learned,
  )
  const [seenHappy, seenSad] = both(
    theirs,
    (text) => mood(text) > 0,
    (text) => mood(text) < 0,
  )
  const kept = Math.floor(0.8 * seenHappy.length)
  const without = new Set(valence.keys())
  const classifier = new NaiveBayes(seenHappy.slice(0, kept), seenSad.slice(0, kept), { without })
  const isHappy = (text: string): boolean => classifier.score(text) > 0
  const right = [...seenHappy.slice(kept).map(isHappy), ...seenSad.slice(kept).map((text) => !isHappy(text))]
  const prompts = stories
    .slice(half)
    .map((story) => sentencesOf(story)[0] ?? '')
    .filter(
      (sentence) => mood(sentence) === 0 && wordsOf(sentence).length >= 5 && wordsOf(sentence).length <= 20,
    )
  const [spoken, told] = both(
    ours,
    (text) => text.includes('"'),
    (text) => !text.includes('"'),
    learned,
  )
  return {
    ...{ happy, sad, spoken, told, isHappy },
    prompts: shuffled([...new Set(prompts)], 0),
    agreement: right.filter(Boolean).length / right.length,
    saysHappy: (text) => mood(text) > 0,
  }
}

const sentencesOf = (story: string): string[] => story.trim().split(/(?<=[.!?]"?)\s+/)

/** Neighbouring sentences, two by two. */
function pairsOf(story: string): string[] {
  const sentences = sentencesOf(story)
  const pairs: string[] = []
  for (let i = 0; i + 1 < sentences.length; i += 2) pairs.push(`${sentences[i]} ${sentences[i + 1]}`)
  return pairs.filter((text) => {
    const { length } = wordsOf(text)
    return length >= 8 && length <= 50
  })
}

/** As many of the one as of the other. */
function both(
  texts: readonly string[],
  one: (text: string) => boolean,
  other: (text: string) => boolean,
  most = Number.POSITIVE_INFINITY,
): [string[], string[]] {
  const [a, b] = [texts.filter(one), texts.filter(other)]
  const count = Math.min(most, a.length, b.length)
  return [a.slice(0, count), b.slice(0, count)]
}
