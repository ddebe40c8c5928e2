/**
 * Mirostat (Basu et al. 2021): the surprise of each token is held near `tau` bits. A limit mu follows it:
 * mu <- mu - eta (surprise - tau), from 2 tau on, where the surprise is that of the token that was drawn, in what
 * was left of the distribution.
 */
import { softmax } from '../logits.ts'
import type { Rule, RuleContext } from '../rule.ts'
import { topK } from './truncation.ts'

export interface MirostatOptions {
  /** Target, in bits. */
  readonly tau: number
  /** How fast the limit follows. */
  readonly eta: number
}

/** Keeps the last distribution and moves the limit by the token that was drawn from it. */
class Limit {
  mu: number
  readonly #options: MirostatOptions
  #left: Float64Array | undefined

  constructor(options: MirostatOptions) {
    this.#options = options
    this.mu = 2 * options.tau
  }

  /** Learns which token was drawn in the step before. */
  follow({ tokens }: RuleContext): void {
    if (this.#left)
      this.mu -= this.#options.eta * (-Math.log2(this.#left[tokens.at(-1)!]!) - this.#options.tau)
  }

  remember(logits: Float32Array): void {
    this.#left = softmax(logits)
  }
}

/** Version 2: tokens with more than mu bits of surprise are cut; the most likely one stays. */
export function mirostat2(options: MirostatOptions): Rule {
  const limit = new Limit(options)
  return (logits, context) => {
    limit.follow(context)
    const probabilities = softmax(logits)
    const best = probabilities.reduce((at, p, i) => (p > probabilities[at]! ? i : at), 0)
    for (let i = 0; i < logits.length; i++)
      if (i !== best && -Math.log2(probabilities[i]!) > limit.mu) logits[i] = Number.NEGATIVE_INFINITY
    limit.remember(logits)
  }
}

/** Most likely tokens from which the exponent of Zipf's law is estimated. */
const counted = 100

/** Version 1: the k most likely tokens are kept, where k follows from mu by Zipf's law. */
export function mirostat1(options: MirostatOptions): Rule {
  const limit = new Limit(options)
  return (logits, context) => {
    limit.follow(context)
    const sorted = softmax(logits).sort().reverse()
    const s = zipfExponent(sorted.subarray(0, counted))
    const epsilon = s - 1
    const k = ((epsilon * 2 ** limit.mu) / (1 - sorted.length ** -epsilon)) ** (1 / s)
    topK(Math.min(sorted.length, Math.max(1, Math.round(k))))(logits, context)
    limit.remember(logits)
  }
}

/** Least squares of ln(p_i / p_{i+1}) against ln((i + 2) / (i + 1)), equation 6 of the paper. */
function zipfExponent(sorted: Float64Array): number {
  let [above, below] = [0, 0]
  for (let i = 0; i + 1 < sorted.length && sorted[i + 1]! > 0; i++) {
    const t = Math.log((i + 2) / (i + 1))
    above += t * Math.log(sorted[i]! / sorted[i + 1]!)
    below += t * t
  }
  return above / below
}
