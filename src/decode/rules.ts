/**
 * Rules change the logits before a token is drawn. They run in the order in which they are given; a
 * forbidden token has the logit -Infinity. Each works in place on one row, f32 [vocab].
 */
export interface RuleContext {
  /** The row's tokens so far, prompt included. */
  readonly tokens: readonly number[]
}
export type Rule = (logits: Float32Array, context: RuleContext) => void

/**
 * Repetition penalty: logits of tokens that have occurred are divided by `penalty` if positive, multiplied if
 * negative (Keskar et al. 2019).
 */
export const repetitionPenalty =
  (penalty: number): Rule =>
  (logits, { tokens }) => {
    for (const token of new Set(tokens)) {
      const logit = logits[token]!
      logits[token] = logit > 0 ? logit / penalty : logit * penalty
    }
  }

/** Divides the logits: below 1 sharper, above 1 flatter. 0 is greedy decoding, which draws nothing. */
export const temperature =
  (value: number): Rule =>
  (logits) => {
    for (let i = 0; i < logits.length; i++) logits[i]! /= value
  }

/** Keeps the `k` most likely tokens; of tokens that tie at the border the lowest ids. */
export const topK =
  (k: number): Rule =>
  (logits) => {
    if (k >= logits.length) return
    const border = kthLargest(logits, k)
    let free = k
    for (const logit of logits) if (logit > border) free--
    for (let i = 0; i < logits.length; i++) {
      const logit = logits[i]!
      if (logit > border || (logit === border && free-- > 0)) continue
      logits[i] = Number.NEGATIVE_INFINITY
    }
  }

/**
 * Nucleus sampling: keeps the most likely tokens until their probability reaches `mass` (Holtzman et al.
 * 2020). The token that crosses the border is kept, so at least one remains.
 */
export const topP =
  (mass: number): Rule =>
  (logits) => {
    const probabilities = softmax(logits)
    // Tokens below this share cannot be part of the nucleus: together they have less than what it leaves out.
    const floor = (1 - mass) / logits.length
    const candidates: number[] = []
    for (let i = 0; i < probabilities.length; i++) if (probabilities[i]! >= floor) candidates.push(i)
    candidates.sort((a, b) => probabilities[b]! - probabilities[a]! || a - b)
    let sum = 0
    let kept = 0
    while (kept < candidates.length && sum < mass) sum += probabilities[candidates[kept++]!]!
    const values = candidates.slice(0, kept).map((token) => [token, logits[token]!] as const)
    logits.fill(Number.NEGATIVE_INFINITY)
    for (const [token, logit] of values) logits[token] = logit
  }

/** Keeps tokens whose probability is at least `share` of the largest one (Nguyen et al. 2024). */
export const minP =
  (share: number): Rule =>
  (logits) => {
    const floor = largest(logits) + Math.log(share)
    for (let i = 0; i < logits.length; i++) if (logits[i]! < floor) logits[i] = Number.NEGATIVE_INFINITY
  }

export function argMax(logits: Float32Array): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  return best
}

/** Draws a token; `uniform` is in [0, 1). */
export function draw(logits: Float32Array, uniform: number): number {
  const top = largest(logits)
  let total = 0
  for (const logit of logits) total += Math.exp(logit - top)
  let left = uniform * total
  let last = 0
  for (let i = 0; i < logits.length; i++) {
    const weight = Math.exp(logits[i]! - top)
    if (weight === 0) continue
    last = i
    left -= weight
    if (left < 0) return i
  }
  // Rounding can leave a rest: the last possible token takes it.
  return last
}

/** log of the sum of exp, in nats: subtract it from a logit for a log-probability. */
export function logSumExp(logits: Float32Array): number {
  const top = largest(logits)
  let total = 0
  for (const logit of logits) total += Math.exp(logit - top)
  return top + Math.log(total)
}

export interface TokenLogprob {
  readonly token: number
  /** nats */
  readonly logprob: number
}

/** The `count` most likely tokens, best first. */
export function mostLikely(logits: Float32Array, count: number): TokenLogprob[] {
  const normalizer = logSumExp(logits)
  const border = kthLargest(logits, Math.min(count, logits.length))
  const found: TokenLogprob[] = []
  logits.forEach((logit, token) => {
    if (logit >= border) found.push({ token, logprob: logit - normalizer })
  })
  return found.sort((a, b) => b.logprob - a.logprob || a.token - b.token).slice(0, count)
}

function largest(logits: Float32Array): number {
  let top = Number.NEGATIVE_INFINITY
  for (const logit of logits) if (logit > top) top = logit
  return top
}

function softmax(logits: Float32Array): Float64Array {
  const normalizer = logSumExp(logits)
  return Float64Array.from(logits, (logit) => Math.exp(logit - normalizer))
}

/** The k-th largest value: a heap of k for few, sorting for many. */
function kthLargest(values: Float32Array, k: number): number {
  if (k > 64) return values.slice().sort()[values.length - k]!
  const top = new Float32Array(k).fill(Number.NEGATIVE_INFINITY)
  for (const value of values) {
    if (value <= top[0]!) continue
    // Insertion into the ascending list of the best so far.
    let i = 0
    while (i + 1 < k && top[i + 1]! < value) top[i] = top[++i]!
    top[i] = value
  }
  return top[0]!
}
