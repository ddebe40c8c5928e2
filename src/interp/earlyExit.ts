/**
 * Early exit through a lens: after which block a token's computation can stop (Schuster et al. 2022, "CALM"; as Din et
 * al. 2023 measure it). After each block the lens's two most likely tokens are compared; a token exits where
 *
 *   p₁ − p₂ > 0.9 λ + 0.1 exp(−4 t / N)
 *
 * t is its position and N the mean length of the texts: early positions need more certainty, as what follows builds on
 * them. After all blocks every token has exited. Counted on passes that ran to the end: a decoder that really exits
 * would attend to keys and values that were computed from states it skipped.
 */
import type { LensReading } from './lens.ts'

export interface ExitOptions {
  /** Blocks before which nothing exits; 1 by default. */
  readonly minimum?: number
  /** N; the length of the rows by default. */
  readonly meanLength?: number
}

export interface ExitResult {
  /** Mean number of blocks that a token takes. */
  readonly blocks: number
  /** Share of tokens for which the exit says what the model says. */
  readonly agreement: number
}

export function earlyExit(reading: LensReading, lambda: number, options: ExitOptions = {}): ExitResult {
  const { minimum = 1, meanLength = reading.time } = options
  const { layers, tokens, time, topCount } = reading
  if (topCount < 2) throw new RangeError('early exit compares the two most likely tokens: read with top: 2')
  let [blocks, agreed] = [0, 0]
  for (let position = 0; position < tokens.length; position++) {
    const threshold = 0.9 * lambda + 0.1 * Math.exp((-4 * (position % time)) / meanLength)
    const at = position * topCount
    let exit = minimum
    const certain = (): boolean => {
      const probabilities = reading.probabilities[exit]!
      return probabilities[at]! - probabilities[at + 1]! > threshold
    }
    while (exit < layers && !certain()) exit++
    blocks += exit
    agreed += Number(reading.ids[exit]![at] === reading.ids[layers]![at])
  }
  return { blocks: blocks / tokens.length, agreement: agreed / tokens.length }
}

/** Where λ is too high for any token to exit: p₁ − p₂ is at most 1. */
const never = 1.2

/**
 * Fewest blocks a token, on average, with which the exit agrees with the model on at least this share of tokens. λ is
 * found by bisection, as agreement grows with it but for chance; `layers` where only the whole model agrees as often.
 */
export function blocksAt(reading: LensReading, agreement: number, options: ExitOptions = {}): number {
  let [low, high] = [-never, never]
  let best: ExitResult = earlyExit(reading, high, options)
  for (let i = 0; i < 24; i++) {
    const middle = (low + high) / 2
    const found = earlyExit(reading, middle, options)
    if (found.agreement >= agreement) {
      best = found
      high = middle
    } else low = middle
  }
  return best.blocks
}

export interface Agreement {
  /** Share of positions at which the lens's first token is among the model's first k. */
  readonly precision: Readonly<Record<number, number>>
  /** Mean of −log of what the model gives the lens's first token, in nats. */
  readonly surprisal: number
}

/** How the lens agrees with the model after each number of blocks. `top`: values of k, up to the reading's own. */
export function agreement(reading: LensReading, top: readonly number[] = [1, 5, 10]): Agreement[] {
  const { layers, tokens, topCount } = reading
  const most = Math.max(...top)
  if (most > topCount)
    throw new RangeError(`precision@${most} needs ${most} tokens of each cell: read with top: ${most}`)
  const final = reading.ids[layers]!
  return reading.ids.map((ids, blocks) => {
    const hits = top.map(() => 0)
    let surprisal = 0
    for (let position = 0; position < tokens.length; position++) {
      const at = position * topCount
      const rank = final.subarray(at, at + most).indexOf(ids[at]!)
      for (const [i, k] of top.entries()) hits[i]! += Number(rank >= 0 && rank < k)
      surprisal += reading.columns[blocks]!.surprisal[position]!
    }
    return {
      precision: Object.fromEntries(top.map((k, i) => [k, hits[i]! / tokens.length])),
      surprisal: surprisal / tokens.length,
    }
  })
}
