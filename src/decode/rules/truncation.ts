/** Rules that sharpen the distribution or cut away its tail. */
import { kthLargest, largest, softmax } from '../logits.ts'
import type { Rule } from '../rule.ts'

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

/**
 * Locally typical sampling (Meister et al. 2023): keeps the tokens whose surprise -ln p is nearest to the
 * entropy, until their probability reaches `mass`; the one that crosses the border is kept.
 */
export const typical =
  (mass: number): Rule =>
  (logits) => {
    const probabilities = softmax(logits)
    const surprise = probabilities.map((p) => -Math.log(p))
    const entropy = probabilities.reduce((sum, p, i) => (p > 0 ? sum + p * surprise[i]! : sum), 0)
    const order = Array.from(probabilities.keys()).sort(
      (a, b) => Math.abs(surprise[a]! - entropy) - Math.abs(surprise[b]! - entropy) || a - b,
    )
    let sum = 0
    for (const token of order) {
      if (sum >= mass) logits[token] = Number.NEGATIVE_INFINITY
      sum += probabilities[token]!
    }
  }

/** Keeps logits within `n` standard deviations of the largest one (Tang et al. 2024). */
export const topNSigma =
  (n: number): Rule =>
  (logits) => {
    const finite = logits.filter(Number.isFinite)
    const mean = finite.reduce((sum, x) => sum + x, 0) / finite.length
    const deviation = Math.sqrt(finite.reduce((sum, x) => sum + (x - mean) ** 2, 0) / finite.length)
    const floor = largest(logits) - n * deviation
    for (let i = 0; i < logits.length; i++) if (logits[i]! < floor) logits[i] = Number.NEGATIVE_INFINITY
  }

/**
 * XTC, "exclude top choices" (p-e-w 2024): with this probability, of all tokens at or above the threshold only the
 * least likely is kept.
 */
export const xtc =
  ({ probability, threshold }: { readonly probability: number; readonly threshold: number }): Rule =>
  (logits, { random }) => {
    if (random() >= probability) return
    const probabilities = softmax(logits)
    const top = Array.from(probabilities.keys()).filter((token) => probabilities[token]! >= threshold)
    const kept = top.reduce((a, b) => (probabilities[b]! < probabilities[a]! ? b : a), top[0]!)
    for (const token of top) if (token !== kept) logits[token] = Number.NEGATIVE_INFINITY
  }
