/** How far one model's activations are from another's, and where they part. */
import type { Tensor } from '../array/index.ts'

/** Activations by site, in the order of the forward pass. */
export type Activations = ReadonlyMap<
  string,
  Pick<Tensor, 'sizes'> & { readonly data: ArrayLike<number | bigint> }
>

export interface SiteDifference {
  readonly site: string
  /** Largest |a - b|, in units of the reference's root mean square. */
  readonly relative: number
  /** Where that is, in the axes of the site. */
  readonly at: readonly number[]
}

export interface Comparison {
  /** Sites that both have, in the order of the forward pass. */
  readonly sites: readonly SiteDifference[]
  readonly worst: SiteDifference
  /** The first site beyond the tolerance. */
  readonly first: SiteDifference | undefined
  /** Largest difference of a logit. */
  readonly logit: number
  /** Mean divergence KL(reference, other) of the next token, in nats. */
  readonly divergence: number
  /** Positions whose most likely next token is another one, and all positions. */
  readonly flips: number
  readonly positions: number
}

/** Throws where the two have no site in common, or one has another shape. */
export function compareActivations(
  reference: Activations,
  other: Activations,
  tolerance: number,
): Comparison {
  const sites = [...reference.keys()].filter((site) => other.has(site)).map((site) => differ(site))
  function differ(site: string): SiteDifference {
    const [a, b] = [reference.get(site)!, other.get(site)!]
    if (`${a.sizes}` !== `${b.sizes}`)
      throw new Error(
        `'${site}' is [${b.sizes.join(', ')}] here and [${a.sizes.join(', ')}] in the reference`,
      )
    let [squares, largest, where, counted] = [0, 0, 0, 0]
    for (let i = 0; i < a.data.length; i++) {
      const [x, y] = [Number(a.data[i]), Number(b.data[i])]
      // Scores that causality hides are -Infinity, or a very low number elsewhere.
      if (x < -1e29 && y < -1e29) continue
      counted++
      squares += x * x
      const distance = Math.abs(x - y)
      if (distance > largest || Number.isNaN(distance)) {
        largest = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance
        where = i
      }
    }
    const scale = Math.sqrt(squares / Math.max(1, counted)) || 1
    return { site, relative: largest / scale, at: unravel(where, a.sizes) }
  }
  if (sites.length === 0) throw new Error('there is no site that both have')
  const worst = sites.reduce((a, b) => (b.relative > a.relative ? b : a))
  const first = sites.find(({ relative }) => relative > tolerance)
  return { sites, worst, first, ...compareLogits(reference.get('logits'), other.get('logits')) }
}

type Logits = Activations extends ReadonlyMap<string, infer V> ? V | undefined : never

function compareLogits(
  reference: Logits,
  other: Logits,
): Pick<Comparison, 'logit' | 'divergence' | 'flips' | 'positions'> {
  if (!reference || !other) return { logit: Number.NaN, divergence: Number.NaN, flips: 0, positions: 0 }
  const vocab = reference.sizes.at(-1)!
  const positions = reference.data.length / vocab
  let [logit, divergence, flips] = [0, 0, 0]
  for (let t = 0; t < positions; t++) {
    const [p, q] = [reference, other].map(({ data }) =>
      Float64Array.from({ length: vocab }, (_, i) => Number(data[t * vocab + i])),
    ) as [Float64Array, Float64Array]
    const [topP, topQ] = [best(p), best(q)]
    if (topP !== topQ) flips++
    const [restP, restQ] = [logSumExp(p, p[topP]!), logSumExp(q, q[topQ]!)]
    for (let i = 0; i < vocab; i++) {
      logit = Math.max(logit, Math.abs(p[i]! - q[i]!))
      const share = Math.exp(p[i]! - restP)
      if (share > 0) divergence += (share * (p[i]! - restP - (q[i]! - restQ))) / positions
    }
  }
  return { logit, divergence, flips, positions }
}

const best = (x: Float64Array): number => x.reduce((at, value, i) => (value > x[at]! ? i : at), 0)
const logSumExp = (x: Float64Array, top: number): number =>
  top + Math.log(x.reduce((sum, value) => sum + Math.exp(value - top), 0))

function unravel(index: number, sizes: readonly number[]): number[] {
  const at: number[] = []
  for (let rest = index, axis = sizes.length - 1; axis >= 0; axis--) {
    at.unshift(rest % sizes[axis]!)
    rest = Math.floor(rest / sizes[axis]!)
  }
  return at
}

/** What stands just before a site, and is to blame where the site is the first to differ. */
const causes: readonly (readonly [RegExp, string])[] = [
  [/^hook_embed$/, 'the embedding, or its scale'],
  [/^hook_pos_embed$/, 'the table of positions'],
  [/ln1\.hook_normalized$/, 'the norm before attention: its weight, epsilon or kind'],
  [/ln2\.hook_normalized$/, 'the norm before the feed-forward part: its weight, epsilon or kind'],
  [/_post\.hook_normalized$/, 'the norm after the part: its weight, epsilon or kind'],
  [/attn\.hook_([qkv])$/, 'the projection of queries, keys or values: its weight (transposed?) or bias'],
  [
    /attn\.hook_rot_[qk]$/,
    'rotary positions: base, scaling or order of the pairs; or a norm of queries and keys',
  ],
  [/attn\.hook_attn_scores$/, 'the scores: their scale, soft cap, mask or window'],
  [/attn\.hook_pattern$/, 'the attention pattern: mask, window, scale, or queries and keys after rotation'],
  [/attn\.hook_z$/, 'the values, or which heads share them'],
  [/hook_attn_out$|attn\.hook_result$/, 'the output projection of attention'],
  [/ssm\.hook_(x|gate)$/, 'the input projection of the state space: its weight (halves exchanged?) or bias'],
  [/ssm\.hook_conv$/, 'the convolution: its weight (reversed?), bias or padding'],
  [/ssm\.hook_u$/, 'the activation function after the convolution'],
  [/ssm\.hook_delta$/, 'the step sizes: their two projections, bias or softplus'],
  [/ssm\.hook_[BC]$/, 'the projection of the channels: the order of its parts'],
  [/ssm\.hook_h$/, 'the state: its decay, or what is written to it'],
  [/ssm\.hook_y$/, 'what is read from the state, or the channels that pass by it'],
  [/ssm\.hook_z$/, 'the gate'],
  [/hook_ssm_out$/, 'the output projection of the state space'],
  [/hook_resid_(pre|mid|post)$/, 'how the residual is summed'],
  [/mlp\.hook_pre(_linear)?$/, 'the first matrix of the feed-forward part'],
  [/mlp\.hook_post$/, 'the activation function'],
  [/mlp\.hook_expert_weights$/, 'the router'],
  [/hook_mlp_out$/, 'the last matrix of the feed-forward part'],
  [/^ln_final/, 'the last norm'],
  [/^logits$/, 'the head'],
]

/** What to look at where a site is the first to differ. */
export const suspect = (site: string): string =>
  causes.find(([pattern]) => pattern.test(site))?.[1] ?? 'what computes this site'
