/**
 * Explanations that need no model: which tokens a feature is active on, and what stands around them.
 *
 * A rule has clauses, each about one slot: the active token, the one before or behind it, or any earlier one of the
 * context. A clause lists values with their share p(v) of the active tokens and their share b(v) of all tokens, and
 * together the clauses score a token by the logarithm of how much more likely it is where the feature is active:
 *
 *   score(i) = Σ_clauses log p(v_i) / b(v_i),   and for a value that is not listed   log (1 − Σp) / (1 − Σb)
 *
 * which is naive Bayes. It can be applied to any context, so its words can be wrong: what is read is what is scored.
 * Values are found on one half of the contexts, and a clause is added only where it helps on the other half.
 */
import { random } from '../../../array/index.ts'
import { auroc, bestThreshold } from './auroc.ts'
import type { ActiveContext, Contexts } from './contexts.ts'

export const slots = ['token', 'previous', 'next', 'earlier'] as const
export type Slot = (typeof slots)[number]

export interface RuleValue {
  readonly token: number
  /** Of the active tokens. */
  readonly share: number
  /** Of all tokens. */
  readonly base: number
}

export interface Clause {
  readonly slot: Slot
  /** Most informative first. */
  readonly values: readonly RuleValue[]
}

export interface Rule {
  readonly clauses: readonly Clause[]
  /** A context whose best score is above it is said to have the feature. */
  readonly threshold: number
  /** Share of the tokens on which the feature is active. */
  readonly density: number
}

export interface RuleOptions {
  /** Most values of a clause; 10 by default. */
  readonly values?: number
  /** Most clauses; 2 by default. */
  readonly clauses?: number
  readonly seed?: number
}

type Tokens = ArrayLike<number>

/** A token's scores by a rule's clauses; NaN-free. */
export function scoreToken({ clauses }: Pick<Rule, 'clauses'>, tokens: Tokens, at: number): number {
  let score = 0
  for (const clause of clauses) score += clauseScore(clause, tokens, at)
  return score
}

/** The largest score of a context's tokens. */
export function scoreContext(rule: Pick<Rule, 'clauses'>, tokens: Tokens): number {
  let best = Number.NEGATIVE_INFINITY
  for (let i = 0; i < tokens.length; i++) best = Math.max(best, scoreToken(rule, tokens, i))
  return best
}

const smallest = 1e-4
const ratio = (share: number, base: number): number =>
  Math.log(Math.max(share, smallest) / Math.max(base, smallest * 1e-2))

function clauseScore({ slot, values }: Clause, tokens: Tokens, at: number): number {
  let [shares, bases, best] = [0, 0, Number.NEGATIVE_INFINITY]
  for (const { token, share, base } of values) {
    shares += share
    bases += base
    if (matches(slot, token, tokens, at)) best = Math.max(best, ratio(share, base))
  }
  return best > Number.NEGATIVE_INFINITY ? best : Math.min(0, ratio(1 - shares, 1 - Math.min(bases, 0.99)))
}

function matches(slot: Slot, token: number, tokens: Tokens, at: number): boolean {
  switch (slot) {
    case 'token':
      return tokens[at] === token
    case 'previous':
      return at > 0 && tokens[at - 1] === token
    case 'next':
      return tokens[at + 1] === token
    case 'earlier':
      for (let i = 0; i < at; i++) if (tokens[i] === token) return true
      return false
  }
}

/** Values of a slot at a token, each once. */
function valuesAt(slot: Slot, tokens: Tokens, at: number): number[] {
  const one = (i: number): number[] => (i >= 0 && i < tokens.length ? [tokens[i]!] : [])
  switch (slot) {
    case 'token':
      return one(at)
    case 'previous':
      return one(at - 1)
    case 'next':
      return one(at + 1)
    case 'earlier':
      return [...new Set(Array.from({ length: at }, (_, i) => tokens[i]!))]
  }
}

/** How often each value of a slot is seen, of all tokens that have been read. */
class Base {
  readonly #tokens: Float64Array
  readonly #total: number
  readonly #earlier = new Map<number, number>()

  constructor(contexts: Contexts) {
    this.#tokens = contexts.tokenCounts
    this.#total = contexts.rows
    const all = contexts.background(0)
    const places = all.length * contexts.length
    for (const { tokens } of all) {
      const seen = new Map<number, number>()
      Array.from(tokens).forEach((token, i) => {
        if (!seen.has(token)) seen.set(token, i)
      })
      for (const [token, first] of seen)
        this.#earlier.set(token, (this.#earlier.get(token) ?? 0) + (tokens.length - 1 - first) / places)
    }
  }

  of(slot: Slot, token: number): number {
    return slot === 'earlier' ? (this.#earlier.get(token) ?? 0) : (this.#tokens[token] ?? 0) / this.#total
  }
}

interface Place {
  readonly tokens: Tokens
  readonly at: number
}

const activePlaces = (contexts: readonly ActiveContext[]): Place[] =>
  contexts.flatMap(({ tokens, activations }) =>
    Array.from(activations).flatMap((value, at) => (value > 0 ? [{ tokens, at }] : [])),
  )

function clauseOf(slot: Slot, places: readonly Place[], base: Base, most: number): Clause | undefined {
  const counts = new Map<number, number>()
  for (const { tokens, at } of places)
    for (const value of valuesAt(slot, tokens, at)) counts.set(value, (counts.get(value) ?? 0) + 1)
  const values = [...counts].flatMap(([token, count]) => {
    const [share, common] = [count / (places.length + 1), base.of(slot, token)]
    // A value seen once may be chance; one that is common anyway says little.
    return count >= 2 && share > 2 * common ? [{ token, share, base: common }] : []
  })
  const gain = ({ share, base: common }: RuleValue): number => share * ratio(share, common)
  values.sort((a, b) => gain(b) - gain(a) || a.token - b.token)
  return values.length > 0 ? { slot, values: values.slice(0, most) } : undefined
}

/** Contexts to fit and judge rules of one feature on. */
interface Evidence {
  readonly active: readonly ActiveContext[]
  readonly inactive: readonly Tokens[]
}

/** Telling contexts apart and telling tokens apart count alike. */
function quality(rule: Pick<Rule, 'clauses'>, { active, inactive }: Evidence): number {
  const contexts = auroc(
    active.map(({ tokens }) => scoreContext(rule, tokens)),
    inactive.map((tokens) => scoreContext(rule, tokens)),
  )
  const [yes, no]: [number[], number[]] = [[], []]
  for (const { tokens, activations } of active)
    for (let i = 0; i < tokens.length; i++) (activations[i]! > 0 ? yes : no).push(scoreToken(rule, tokens, i))
  return (contexts + (no.length > 0 ? auroc(yes, no) : contexts)) / 2
}

/** A clause has to help by that much. */
const worthwhile = 0.01

/** Rules of features of one collection. */
export class RuleExplainer {
  readonly #contexts: Contexts
  readonly #options: Required<RuleOptions>
  readonly #base: Base

  constructor(contexts: Contexts, options: RuleOptions = {}) {
    this.#contexts = contexts
    this.#options = { values: 10, clauses: 2, seed: 0, ...options }
    this.#base = new Base(contexts)
  }

  /** Undefined where a feature is active in too few contexts, or inactive in too few, to say anything: under four. */
  explain(feature: number): Rule | undefined {
    const { sample, density } = this.#contexts.of(feature)
    const inactive = this.#contexts
      .background(feature)
      .filter(({ active }) => !active)
      .map(({ tokens }) => tokens)
    if (sample.length < 4 || inactive.length < 4) return undefined
    const halves = split(sample, random.fold(this.#options.seed, feature))
    const places = activePlaces(halves[0])
    const judged: Evidence = { active: halves[1], inactive }
    const candidates = slots.flatMap((slot) => this.#clause(slot, places) ?? [])
    let [chosen, reached] = [[] as Clause[], 0.5]
    while (chosen.length < this.#options.clauses) {
      const tried = candidates
        .filter((clause) => !chosen.includes(clause))
        .map((clause) => [...chosen, clause])
        .map((clauses) => ({ clauses, quality: quality({ clauses }, judged) }))
        .sort((a, b) => b.quality - a.quality)[0]
      if (!tried || tried.quality < reached + worthwhile) break
      ;[chosen, reached] = [tried.clauses, tried.quality]
    }
    const all = activePlaces(sample)
    const clauses = chosen.flatMap(({ slot }) => this.#clause(slot, all) ?? [])
    const threshold = bestThreshold(
      sample.map(({ tokens }) => scoreContext({ clauses }, tokens)),
      inactive.map((tokens) => scoreContext({ clauses }, tokens)),
    )
    return { clauses, threshold, density }
  }

  #clause(slot: Slot, places: readonly Place[]): Clause | undefined {
    return clauseOf(slot, places, this.#base, this.#options.values)
  }
}

/** Two halves with every quantile in both. */
function split(sample: readonly ActiveContext[], seed: number): [ActiveContext[], ActiveContext[]] {
  const uniform = random.generator(seed)
  const halves: [ActiveContext[], ActiveContext[]] = [[], []]
  for (let i = 0; i < sample.length; i += 2) {
    const [first, second] = uniform() < 0.5 ? [0, 1] : [1, 0]
    halves[first as 0 | 1].push(sample[i]!)
    if (sample[i + 1]) halves[second as 0 | 1].push(sample[i + 1]!)
  }
  return halves
}

const leads: Readonly<Record<Slot, string>> = {
  token: 'tokens',
  previous: 'after',
  next: 'before',
  earlier: 'where it was said earlier:',
}

/** A rule in words: `tokens "dog" 61 %, "cat" 20 % after " the" 80 %`. `most` values of each clause. */
export function describeRule(
  { clauses }: Pick<Rule, 'clauses'>,
  decode: (token: number) => string,
  most = 10,
): string {
  if (clauses.length === 0) return 'no pattern of tokens found'
  return [...clauses]
    .sort((a, b) => slots.indexOf(a.slot) - slots.indexOf(b.slot))
    .map(({ slot, values }) => {
      const shown = values
        .slice(0, most)
        .map(({ token, share }) => `${JSON.stringify(decode(token))} ${Math.round(100 * share)} %`)
      return `${leads[slot]} ${shown.join(', ')}`
    })
    .join(' ')
}
