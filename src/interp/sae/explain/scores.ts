/**
 * How well an explanation tells where a feature is active, on contexts that it was not made from (Paulo et al. 2024).
 *
 * - detection: given contexts, in which is the feature active?
 * - fuzzing: given contexts with marked tokens, are these the active ones? Contexts with the feature have its active tokens
 *   marked, others as many in the places of one of the former.
 * - simulation: the correlation of the activations that the explanation predicts with those that are there (Bills et al.
 *   2023, over all tokens of both groups).
 *
 * Both sets are of equal size at best; `auroc` does not mind if they are not.
 */
import { random } from '../../../array/index.ts'
import { auroc, balancedAccuracy, correlation } from './auroc.ts'
import type { ActiveContext, Contexts } from './contexts.ts'
import { type Rule, scoreContext, scoreToken } from './rule.ts'

type Tokens = ArrayLike<number>

export interface Marked {
  readonly tokens: Tokens
  /** Places of the marked tokens. */
  readonly marked: readonly number[]
}

/** What applies an explanation: larger is more likely. Rules do, and text models under a prompt (`prompt.ts`). */
export interface Rater {
  /** Scores above it are a yes. */
  readonly threshold: number
  readonly contexts: (examples: readonly Tokens[]) => Promise<number[]>
  readonly marked: (examples: readonly Marked[]) => Promise<number[]>
}

export const ruleRater = (rule: Rule): Rater => ({
  threshold: rule.threshold,
  contexts: async (examples) => examples.map((tokens) => scoreContext(rule, tokens)),
  marked: async (examples) =>
    examples.map(({ tokens, marked }) =>
      marked.reduce((sum, at) => sum + scoreToken(rule, tokens, at) / marked.length, 0),
    ),
})

/** Examples of one feature to score explanations on. */
export interface Examples {
  readonly active: readonly ActiveContext[]
  readonly inactive: readonly Tokens[]
  readonly marked: { readonly right: readonly Marked[]; readonly wrong: readonly Marked[] }
}

export interface ExampleOptions {
  /** Contexts of each group; 50 by default. */
  readonly count?: number
  readonly seed?: number
  /** Fewer of either are too few to score; 10 by default. */
  readonly least?: number
}

/** Undefined where held-out contexts are too few. Active ones come from all quantiles alike. */
export function examplesOf(
  heldOut: Contexts,
  feature: number,
  { count = 50, seed = 0, least = 10 }: ExampleOptions = {},
): Examples | undefined {
  const uniform = random.generator(random.fold(seed, feature))
  const { sample } = heldOut.of(feature)
  const step = Math.max(1, sample.length / count)
  const active = Array.from(
    { length: Math.min(count, sample.length) },
    (_, i) => sample[Math.floor(i * step)]!,
  )
  const free = heldOut.background(feature).filter(({ active: has }) => !has)
  const inactive = free.slice(0, count).map(({ tokens }) => tokens)
  if (active.length < least || inactive.length < least) return undefined
  const places = active.map(({ activations }) =>
    Array.from(activations).flatMap((value, at) => (value > 0 ? [at] : [])),
  )
  return {
    active,
    inactive,
    marked: {
      right: active.map(({ tokens }, i) => ({ tokens, marked: places[i]! })),
      wrong: inactive.map((tokens) => ({ tokens, marked: places[Math.floor(uniform() * places.length)]! })),
    },
  }
}

export interface Scores {
  readonly detection: number
  readonly detection_accuracy: number
  readonly fuzzing: number
  readonly fuzzing_accuracy: number
}

/** AUROC and balanced accuracy of detection and fuzzing. */
export async function score(rater: Rater, { active, inactive, marked }: Examples): Promise<Scores> {
  const [yes, no] = [await rater.contexts(active.map(({ tokens }) => tokens)), await rater.contexts(inactive)]
  const [right, wrong] = [await rater.marked(marked.right), await rater.marked(marked.wrong)]
  return {
    detection: auroc(yes, no),
    detection_accuracy: balancedAccuracy(yes, no, rater.threshold),
    fuzzing: auroc(right, wrong),
    fuzzing_accuracy: balancedAccuracy(right, wrong, rater.threshold),
  }
}

/**
 * Simulation by a rule: it predicts how likely a token is active, by its score and the feature's density. The paper
 * scores contexts with the feature alone; without others a rule that is always at work would pass.
 */
export function simulation(rule: Rule, { active, inactive }: Examples): number {
  const density = Math.min(Math.max(rule.density, 1e-6), 1 - 1e-6)
  const odds = Math.log(density / (1 - density))
  const [predicted, actual]: [number[], number[]] = [[], []]
  const add = (tokens: Tokens, activations?: Float32Array): void => {
    for (let i = 0; i < tokens.length; i++) {
      predicted.push(1 / (1 + Math.exp(-scoreToken(rule, tokens, i) - odds)))
      actual.push(activations?.[i] ?? 0)
    }
  }
  for (const { tokens, activations } of active) add(tokens, activations)
  for (const tokens of inactive) add(tokens)
  return correlation(predicted, actual)
}
