/** What the rules and the loop share about a row of logits, f32 [vocab]. */

/** The most likely token; of several the lowest id. */
export function argMax(logits: Float32Array): number {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i
  return best
}

/** Weights of the tokens of one draw, kept from one to the next: f64, as long as the largest vocabulary so far. */
let weights = new Float64Array(0)

/** Draws a token; `uniform` is in [0, 1). */
export function draw(logits: Float32Array, uniform: number): number {
  const vocab = logits.length
  if (weights.length < vocab) weights = new Float64Array(vocab)
  const top = largest(logits)
  let total = 0
  for (let i = 0; i < vocab; i++) {
    const weight = Math.exp(logits[i]! - top)
    weights[i] = weight
    total += weight
  }
  let left = uniform * total
  let last = 0
  for (let i = 0; i < vocab; i++) {
    const weight = weights[i]!
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

/** The largest logit. */
export function largest(logits: Float32Array): number {
  let top = Number.NEGATIVE_INFINITY
  // An index is several times as fast as the iterator here, and this is done for every token.
  for (let i = 0; i < logits.length; i++) if (logits[i]! > top) top = logits[i]!
  return top
}

/** Probabilities, in f64. */
export function softmax(logits: Float32Array): Float64Array {
  const normalizer = logSumExp(logits)
  return Float64Array.from(logits, (logit) => Math.exp(logit - normalizer))
}

/** The k-th largest value: a heap of k for few, sorting for many. */
export function kthLargest(values: Float32Array, k: number): number {
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
