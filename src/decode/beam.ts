/**
 * Beam search, and diverse beam search (Vijayakumar et al. 2018): the beams are divided into groups, and a token
 * costs a later group `diversityPenalty` for each time that an earlier group has chosen it in the same step. Scores
 * are those of Hugging Face: the sum of log-probabilities (less the penalties) over length ** lengthPenalty. A group
 * that is done costs later ones nothing; in transformers 4 it went on choosing the pad token.
 */
import { type Jitted, mapTree, type Tensor, tensor } from '../array/index.ts'
import { type Cache, cacheAxes } from '../model/cache.ts'
import type { Model } from '../model/model.ts'
import { logSumExp } from './logits.ts'

export interface BeamOptions {
  readonly beams: number
  /** Must divide the beams; 1 is plain beam search. */
  readonly groups?: number
  readonly diversityPenalty?: number
  /** Above 0 favours long texts, below 0 short ones; 1 by default. */
  readonly lengthPenalty?: number
  /** End when there are as many finished texts as beams, without looking for better ones. */
  readonly earlyStopping?: boolean
  readonly maxTokens?: number
  /** Tokens that end a text. */
  readonly ends?: readonly number[]
  readonly signal?: AbortSignal
}

export interface Beam {
  /** Generated tokens, with the one that ended the text. */
  readonly tokens: readonly number[]
  /** Sum of log-probabilities, nats. */
  readonly logprob: number
  /** logprob / length ** lengthPenalty */
  readonly score: number
}

interface Running {
  readonly tokens: readonly number[]
  readonly logprob: number
  /** Its row in the cache. */
  readonly row: number
}

interface GroupOptions extends Required<Pick<BeamOptions, 'lengthPenalty' | 'earlyStopping' | 'ends'>> {
  /** Whether it is the only group. */
  readonly alone: boolean
}

/** One group of beams: what runs, and what has ended. */
class Group {
  running: Running[]
  finished: Beam[] = []
  done = false
  readonly size: number
  readonly #options: GroupOptions

  constructor(size: number, firstRow: number, options: GroupOptions) {
    this.size = size
    this.#options = options
    // All begin alike: only the first may lead at first.
    this.running = Array.from({ length: size }, (_, i) => ({
      tokens: [],
      logprob: i === 0 ? 0 : -1e9,
      row: firstRow + i,
    }))
  }

  /** Goes on by one token. `scores` are log-probabilities of each running beam, [vocab] each. */
  extend(scores: readonly Float64Array[]): void {
    const { ends } = this.#options
    const wanted = this.size * Math.max(2, 1 + ends.length)
    const candidates = best(
      scores.map((row, i) => row.map((logprob) => logprob + this.running[i]!.logprob)),
      wanted,
    )
    const next: Running[] = []
    candidates.forEach(({ beam, token, logprob }, rank) => {
      const { tokens, row } = this.running[beam]!
      const longer = { tokens: [...tokens, token], logprob, row }
      if (!ends.includes(token)) {
        if (next.length < this.size) next.push(longer)
        // An end counts only where it is among the best as they stand.
      } else if (rank < this.size) this.finish(longer)
    })
    this.running = next
    // What may still come is judged by the leading beam; with groups, as transformers 4 alone has them, by the best
    // candidate, which may have ended.
    const leader = this.#options.alone ? next[0]! : candidates[0]!
    this.done =
      this.finished.length >= this.size &&
      (this.#options.earlyStopping || !this.#canImprove(leader.logprob, next[0]!.tokens.length))
  }

  finish({ tokens, logprob }: Pick<Running, 'tokens' | 'logprob'>): void {
    const score = logprob / tokens.length ** this.#options.lengthPenalty
    this.finished.push({ tokens, logprob, score })
    this.finished.sort((a, b) => b.score - a.score)
    this.finished.length = Math.min(this.finished.length, this.size)
  }

  /** Whether a text that ended now would be better than the worst that has ended. */
  #canImprove(logprob: number, length: number): boolean {
    return logprob / length ** this.#options.lengthPenalty > this.finished.at(-1)!.score
  }
}

/** The `count` largest values of several rows, best first. */
function best(
  rows: readonly Float64Array[],
  count: number,
): { beam: number; token: number; logprob: number }[] {
  const found: { beam: number; token: number; logprob: number }[] = []
  rows.forEach((row, beam) => {
    row.forEach((logprob, token) => {
      if (found.length === count && logprob <= found.at(-1)!.logprob) return
      let at = found.length
      while (at > 0 && found[at - 1]!.logprob < logprob) at--
      found.splice(at, 0, { beam, token, logprob })
      found.length = Math.min(found.length, count)
    })
  })
  return found
}

const reorderers = new WeakMap<Model, Jitted<[Cache, Tensor], Cache>>()

/** Rows of a cache in another order. */
function reorder(model: Model, cache: Cache, rows: readonly number[]): Promise<Cache> {
  let program = reorderers.get(model)
  if (!program) {
    const order = (past: Cache, at: Tensor): Cache => mapTree(past, (leaf) => leaf.gather(at)) as Cache
    program = model.engine.jit(order, {
      name: 'reorder',
      axes: [cacheAxes(model.spec), ['batch']],
    })
    reorderers.set(model, program)
  }
  return program(cache, tensor(Int32Array.from(rows)))
}

/** The best continuations of a prompt, best first, one for each beam. */
export async function beamSearch(
  model: Model,
  prompt: readonly number[],
  options: BeamOptions,
): Promise<Beam[]> {
  const { beams, groups = 1, diversityPenalty = 0, lengthPenalty = 1, earlyStopping = false } = options
  const { maxTokens = 64, ends = [], signal } = options
  if (!Number.isInteger(beams) || beams < 1)
    throw new RangeError(`beams must be a positive integer, got ${beams}`)
  if (!Number.isInteger(groups) || groups < 1 || beams % groups !== 0)
    throw new RangeError(`beamGroups must divide the ${beams} beams, got ${groups}`)
  if (groups === 1 && diversityPenalty !== 0)
    throw new RangeError('diversityPenalty needs beamGroups above 1')
  const capacity = Math.min(model.context, prompt.length + maxTokens)
  const size = beams / groups
  const settings = { lengthPenalty, earlyStopping, ends, alone: groups === 1 }
  const all = Array.from({ length: groups }, (_, g) => new Group(size, g * size, settings))
  const { vocab } = model.spec

  let cache = model.newCache(beams, capacity)
  let fresh: readonly (readonly number[])[] = Array.from({ length: beams }, () => prompt)
  for (let length = 0; length + fresh[0]!.length <= capacity; ) {
    signal?.throwIfAborted()
    const time = fresh[0]!.length
    const same = (value: number): Tensor => tensor(new Int32Array(beams).fill(value))
    const step = await model.step({
      tokens: model.rows(fresh),
      cache,
      lengths: same(length),
      at: same(time - 1),
    })
    cache = step.cache
    length += time
    const logits = step.logits.data as Float32Array
    const chosen: number[] = []
    for (const group of all) {
      if (group.done) continue
      const scores = group.running.map(({ row }) => {
        const own = logits.subarray(row * vocab, (row + 1) * vocab)
        const normalizer = logSumExp(own)
        const logprobs = Float64Array.from(own, (logit) => logit - normalizer)
        for (const token of chosen) logprobs[token]! -= diversityPenalty
        return logprobs
      })
      group.extend(scores)
      chosen.push(...group.running.map(({ tokens }) => tokens.at(-1)!))
    }
    step.logits.dispose()
    if (all.every(({ done }) => done)) break
    if (length - prompt.length + 1 >= maxTokens || length + 1 > capacity) break
    const running = all.flatMap((group) => group.running)
    const rows = running.map(({ row }) => row)
    if (rows.some((row, i) => row !== i)) cache = await reorder(model, cache, rows)
    all.forEach((group, g) => {
      group.running = group.running.map((beam, i) => ({ ...beam, row: g * size + i }))
    })
    fresh = running.map(({ tokens }) => [tokens.at(-1)!])
  }
  for (const group of all) if (!group.done) for (const beam of group.running) group.finish(beam)
  return all.flatMap(({ finished }) => finished).sort((a, b) => b.score - a.score)
}
