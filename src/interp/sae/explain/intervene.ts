/**
 * Scores of explanations by what a feature does (Paulo et al. 2024, section 3.3.5): it is written into the model, and
 * the distribution of the next token should move towards what the explanation names.
 *
 * A feature's decoder row is added at all tokens of the prompts, as strongly as makes the mean KL divergence of the clean
 * from the steered distributions reach a target: all features are then compared at equal effect. The paper has a text
 * model continue and rates the continuations by how likely they make the explanation; here an explanation is a list of
 * tokens, and the score of feature j is how much their probability grows, against steering by the other features:
 *
 *   shift(i, j) = mean over prompts of log P_i(tokens of j) − log P(tokens of j)
 *   score(j) = shift(j, j) − mean over i ≠ j of shift(i, j)
 */
import { type Tensor, tensor } from '../../../array/index.ts'
import type { EditWithArguments, Model } from '../../../model/index.ts'
import type { Rule } from './rule.ts'

export interface Steered {
  readonly strength: number
  /** Nats, mean over the prompts. */
  readonly kl: number
  /** Log-probabilities of the next token, [prompts, vocab]. */
  readonly logs: Float32Array
}

interface Direction {
  readonly vector: Tensor
  readonly strength: Tensor
}

const addDirection = (activation: Tensor, { vector, strength }: Direction): Tensor =>
  activation.add(vector.mul(strength))

/** Prompts of one length with their clean distributions: what features are tried on. */
export class Intervention {
  readonly #model: Model
  readonly #site: string
  readonly #prompts: readonly (readonly number[])[]
  readonly clean: Float32Array

  private constructor(
    model: Model,
    site: string,
    prompts: readonly (readonly number[])[],
    clean: Float32Array,
  ) {
    this.#model = model
    this.#site = site
    this.#prompts = prompts
    this.clean = clean
  }

  static async open(
    model: Model,
    site: string,
    prompts: readonly (readonly number[])[],
  ): Promise<Intervention> {
    const { logits } = await model.run(prompts.map((row) => [...row]))
    return new Intervention(model, site, prompts, await lastLogs(logits!, prompts.length))
  }

  async at(direction: Float32Array, strength: number): Promise<Steered> {
    const edit: EditWithArguments<Direction> = {
      apply: addDirection,
      args: { vector: tensor(direction, [direction.length]), strength: tensor([strength], []) },
    }
    const { logits } = await this.#model.run(
      this.#prompts.map((row) => [...row]),
      { read: ['logits'], edit: { [this.#site]: edit } },
    )
    const logs = await lastLogs(logits!, this.#prompts.length)
    return { strength, kl: divergence(this.clean, logs, this.#prompts.length), logs }
  }

  /** Steers until the divergence is within a twentieth of `kl`. Throws for a direction that does not get there. */
  async reach(direction: Float32Array, kl: number): Promise<Steered> {
    const norm = Math.hypot(...direction)
    if (!(norm > 0)) throw new Error('reach: the direction is zero')
    let [low, high] = [0, Number.POSITIVE_INFINITY]
    let strength = 1 / norm
    for (let tries = 0; tries < 24; tries++) {
      const steered = await this.at(direction, strength)
      if (Math.abs(steered.kl - kl) <= kl / 20) return steered
      if (steered.kl < kl) low = strength
      else high = strength
      // KL grows with the square of a small strength: that is a better next guess than a half.
      const guess = strength * Math.sqrt(kl / Math.max(steered.kl, kl / 64))
      strength =
        guess > low && guess < high
          ? guess
          : Number.isFinite(high)
            ? (low + high) / 2
            : Math.max(low * 2, guess)
    }
    throw new Error(`reach: this direction does not reach a divergence of ${kl} nats`)
  }

  /** How much more likely one of the tokens is under steering: the mean of log-ratios over the prompts. */
  shift({ logs }: Steered, tokens: readonly number[]): number {
    if (tokens.length === 0) throw new RangeError('shift: name a token')
    const vocab = logs.length / this.#prompts.length
    const mass = (all: Float32Array, prompt: number): number =>
      Math.log(tokens.reduce((sum, token) => sum + Math.exp(all[prompt * vocab + token]!), 1e-12))
    return this.#prompts.reduce(
      (sum, _, i) => sum + (mass(logs, i) - mass(this.clean, i)) / this.#prompts.length,
      0,
    )
  }
}

/** score(j) of each feature that has tokens, at equal divergence. */
export function interventionScores(
  intervention: Intervention,
  steered: readonly Steered[],
  tokens: readonly (readonly number[])[],
): number[] {
  if (steered.length !== tokens.length || steered.length < 2)
    throw new RangeError('interventionScores: give two features at least, each with its tokens')
  return tokens.map((list, j) => {
    const shifts = steered.map((one) => intervention.shift(one, list))
    const others = shifts.reduce((sum, shift, i) => (i === j ? sum : sum + shift), 0)
    return shifts[j]! - others / (shifts.length - 1)
  })
}

/** Tokens that a rule says will come: those that it is active before, or else those that it is active on. */
export function namedTokens({ clauses }: Pick<Rule, 'clauses'>): number[] {
  const clause = clauses.find(({ slot }) => slot === 'next') ?? clauses.find(({ slot }) => slot === 'token')
  return clause?.values.map(({ token }) => token) ?? []
}

async function lastLogs(logits: Tensor, prompts: number): Promise<Float32Array> {
  const all = (await logits.load()) as Float32Array
  const vocab = logits.sizes.at(-1)!
  const out = new Float32Array(prompts * vocab)
  const stride = all.length / prompts
  for (let i = 0; i < prompts; i++) {
    const row = all.subarray((i + 1) * stride - vocab, (i + 1) * stride)
    let top = Number.NEGATIVE_INFINITY
    for (const value of row) top = Math.max(top, value)
    let sum = 0
    for (const value of row) sum += Math.exp(value - top)
    const norm = top + Math.log(sum)
    for (let j = 0; j < vocab; j++) out[i * vocab + j] = row[j]! - norm
  }
  return out
}

/** KL(clean ‖ steered), mean over prompts. */
function divergence(clean: Float32Array, steered: Float32Array, prompts: number): number {
  let sum = 0
  for (let i = 0; i < clean.length; i++) sum += Math.exp(clean[i]!) * (clean[i]! - steered[i]!)
  return sum / prompts
}
