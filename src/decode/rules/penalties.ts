/** Rules that make tokens less likely because of what has been said. */
import type { Rule } from '../rule.ts'

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

/**
 * Presence and frequency penalties, of generated tokens only (OpenAI): logit - presence - frequency * count for
 * tokens that have occurred `count` times.
 */
export const occurrencePenalty =
  ({ presence, frequency }: { readonly presence: number; readonly frequency: number }): Rule =>
  (logits, { tokens, promptLength }) => {
    const counts = new Map<number, number>()
    for (let i = promptLength; i < tokens.length; i++)
      counts.set(tokens[i]!, (counts.get(tokens[i]!) ?? 0) + 1)
    for (const [token, count] of counts) logits[token]! -= presence + frequency * count
  }

/** Adds to the logits of single tokens. Throws for an id that the model does not have. */
export const logitBias =
  (bias: Readonly<Record<string, number>>): Rule =>
  (logits) => {
    for (const [token, value] of Object.entries(bias)) {
      if (Number(token) >= logits.length)
        throw new RangeError(`logitBias: token ${token} is outside the vocabulary of ${logits.length}`)
      logits[Number(token)]! += value
    }
  }

export interface DryOptions {
  /** Strength; 0 is off. */
  readonly multiplier: number
  readonly base: number
  /** Repetitions up to this length cost nothing. */
  readonly allowedLength: number
  /** Tokens over which no repetition reaches. */
  readonly breakers: ReadonlySet<number>
}

/**
 * DRY, "don't repeat yourself" (p-e-w 2024, text-generation-webui): where the last n tokens have occurred before,
 * the token that followed them then costs multiplier * base^(n - allowedLength). The prompt counts too.
 */
export const dry =
  ({ multiplier, base, allowedLength, breakers }: DryOptions): Rule =>
  (logits, { tokens }) => {
    const last = tokens.length - 1
    if (breakers.has(tokens[last]!)) return
    /** The longest repetition that each token would go on. */
    const lengths = new Map<number, number>()
    for (let i = 0; i < last; i++) {
      if (tokens[i] !== tokens[last]) continue
      let length = 1
      while (
        length <= i &&
        tokens[i - length] === tokens[last - length] &&
        !breakers.has(tokens[i - length]!)
      )
        length++
      const next = tokens[i + 1]!
      lengths.set(next, Math.max(length, lengths.get(next) ?? 0))
    }
    for (const [token, length] of lengths)
      if (length >= allowedLength) logits[token]! -= multiplier * base ** (length - allowedLength)
  }
