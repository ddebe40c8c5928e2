/**
 * What the policy gradients share: answers that the policy gave, with what was known of them then, and the clipped
 * surrogate (Schulman et al. 2017, https://arxiv.org/abs/1707.06347, eq. 7).
 */
import { logSoftmax, type Tensor } from '../../array/index.ts'
import { forward } from '../../model/decoder.ts'
import { linear } from '../../model/parts/linear.ts'
import type { DecoderParams, Linear } from '../../model/spec.ts'
import { Taps } from '../../model/taps.ts'
import type { Objective } from '../objective.ts'
import type { Reader } from './reading.ts'

export interface PolicyParts {
  readonly policy: DecoderParams
  /** weight [1, width]: what reward is to be expected from here on, read off the final states. PPO needs it. */
  readonly value?: Linear | undefined
}

/**
 * Prompts with answers, padded at the end. All f32 but the tokens, all [batch, T]; entry t is about token t, and
 * only entries where `mask` is 1, the answers' tokens, count.
 */
export interface PolicyBatch {
  readonly tokens: Tensor
  readonly mask: Tensor
  /** log π_old of each token, by the policy that gave the answers. */
  readonly logprobs: Tensor
  readonly advantages: Tensor
  /** log π_ref of each token. */
  readonly reference?: Tensor | undefined
  /** Values when the answers were given, and what they should have been. */
  readonly values?: Tensor | undefined
  readonly returns?: Tensor | undefined
}

/** One answer with its reward; lists have an entry for each of its tokens. */
export interface ScoredAnswer {
  /** Answers of one prompt have one group. */
  readonly group: number
  readonly reward: number
  readonly logprobs: readonly number[]
  readonly reference?: readonly number[] | undefined
  readonly values?: readonly number[] | undefined
}
export interface Estimate {
  readonly advantages: readonly number[]
  readonly returns?: readonly number[]
}

/** An objective with the way from rewards to advantages. */
export interface PolicyAlgorithm extends Objective<PolicyParts, PolicyBatch> {
  readonly reader: Reader
  /** What it reads beside the policy's own probabilities. */
  readonly needs: { readonly value: boolean; readonly reference: boolean }
  estimate(answers: readonly ScoredAnswer[]): Estimate[]
}

export interface PolicyReading {
  /** Of each token of the rows: [batch, T]. The first has none: 0. */
  readonly logprobs: Tensor
  /** Of the distribution each token was drawn from, in nats: [batch, T]. */
  readonly entropy: Tensor
  /** Before each token, [batch, T]; only with a value head. */
  readonly values?: Tensor
}

const finalSite = 'ln_final.hook_normalized'

/** One pass over rows of tokens. */
export function readPolicy(
  { spec, rotary }: Reader,
  { policy, value }: PolicyParts,
  tokens: Tensor,
): PolicyReading {
  const taps = new Taps(spec, { read: [finalSite] })
  const { logits } = forward(spec, policy, { tokens: tokens.slice(1, 0, -1) }, rotary, taps)
  const logp = logSoftmax(logits)
  const targets = tokens.slice(1, 1)
  const shifted = (x: Tensor): Tensor => x.pad(1, 1, 0)
  const states = taps.finish()[finalSite]!
  return {
    logprobs: shifted(logp.gatherElements(targets.expandDims(-1), -1).reshape(targets.shape)),
    entropy: shifted(logp.exp().mul(logp).sum(-1).neg()),
    ...(value && { values: shifted(linear(states, value, 'out-in').reshape(targets.shape)) }),
  }
}

/** −min(r A, clip(r, 1 − low, 1 + high) A), and where clipping holds: [batch, T] each. */
export function surrogate(
  logprobs: Tensor,
  { logprobs: old, advantages, mask }: PolicyBatch,
  { low, high }: { readonly low: number; readonly high: number },
): { readonly losses: Tensor; readonly clipped: Tensor; readonly ratio: Tensor } {
  // What does not count must not overflow: infinity times 0 is no number.
  const ratio = logprobs.sub(old).mul(mask).exp()
  const free = ratio.mul(advantages)
  const bounded = ratio
    .maximum(1 - low)
    .minimum(1 + high)
    .mul(advantages)
  return { losses: free.minimum(bounded).neg(), clipped: bounded.less(free).cast('f32'), ratio }
}
