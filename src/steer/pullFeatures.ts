/**
 * Sparse query steering: the code of attention queries moves by gradient steps towards the class that is wanted.
 *
 *   z_0 = encode(q),   c_k = mean code of the tokens of class k
 *   likelihood   J(z) = log softmax_k(−‖z − c_k‖²)[target]      a prototypical network's class (Snell et al. 2017)
 *   distance     J(z) = −‖z − c_target‖²
 *   z_{i+1} = max(0, z_i + η ∇(J(z_i) − λ‖z_i‖₁)),   q' = q + decode(z_n) − decode(z_0)
 *
 * q: blocks.L.attn.hook_q, before rotary positions, all heads side by side [batch, T, H·D]; z [batch, T, d_sae];
 * c [classes, d_sae]. η is `strength`. The queries of every position move, each by its own gradient.
 *
 * Bhattacharyya and Rooshenas 2025, https://arxiv.org/abs/2502.18644. They train an SAE (reconstruction and sparsity) on
 * the queries of one middle layer, describe styles by prototypes in its latent space, after prototypical networks, and
 * climb towards the target's. They name no constants that we could find: steps, η and λ are options here, both readings of
 * "towards" are there, and the gradient is ours by automatic differentiation. What differs: features stay above 0 (as a
 * ReLU leaves them), and the SAE's error stays in the query unless `error` is `drop`.
 */
import { grad, logSoftmax, type Tensor, tensor } from '../array/index.ts'
import type { Sae } from '../interp/sae/sae.ts'
import type { Edits } from '../model/index.ts'
import { type ErrorMode, type FeatureChange, saeEdit } from './saeEdit.ts'
import { strengthOf } from './steer.ts'

export const pulls = ['likelihood', 'distance'] as const

export interface PullArguments {
  /** [classes, d_sae] */
  readonly prototypes: Tensor
  /** 1 for the class that is wanted, 0 elsewhere; f32 [classes]. */
  readonly target: Tensor
  /** η and λ, scalars. */
  readonly rate: Tensor
  readonly l1: Tensor
}

/** What a step climbs, summed over all rows; features [..., d_sae] at or above 0. */
export function pullObjective(
  pull: (typeof pulls)[number],
  features: Tensor,
  { prototypes, target, l1 }: PullArguments,
): Tensor {
  const square = prototypes.mul(prototypes).sum(1)
  const near = features.matmul(prototypes, { transposeB: true }).mul(2).sub(square)
  // −‖z − c‖² without ‖z‖², which is the same for all classes.
  const towards =
    pull === 'likelihood'
      ? logSoftmax(near).mul(target).sum()
      : near.mul(target).sum().sub(features.mul(features).sum())
  return towards.sub(features.sum().mul(l1))
}

const changes = new Map<string, FeatureChange<PullArguments>>()

/** `steps` steps, unrolled. */
export function pullFeatures(pull: (typeof pulls)[number], steps: number): FeatureChange<PullArguments> {
  const key = `${pull} ${steps}`
  const made: FeatureChange<PullArguments> =
    changes.get(key) ??
    ((features, own) => {
      const gradient = grad((z: Tensor) => pullObjective(pull, z, own))
      let z = features
      for (let step = 0; step < steps; step++) z = z.add(gradient(z).mul(own.rate)).maximum(0)
      return z
    })
  changes.set(key, made)
  return made
}

export interface Prototypes {
  readonly classes: readonly string[]
  /** [classes, d_sae] */
  readonly codes: Tensor
}

export interface SparseQueryOptions {
  /** The class that is wanted. */
  readonly target: string
  /** η; 0 makes no edits. */
  readonly strength: number
  readonly steps?: number
  readonly pull?: (typeof pulls)[number]
  readonly l1?: number
  readonly error?: ErrorMode
}

/** Prototypes from the mean code of each class (`meanCode`), [d_sae] each. */
export function prototypesOf(codes: Readonly<Record<string, ArrayLike<number>>>): Prototypes {
  const [classes, rows] = [Object.keys(codes), Object.values(codes)]
  if (classes.length < 2) throw new Error('prototypes: name two classes at least')
  const dSae = rows[0]!.length
  if (rows.some(({ length }) => length !== dSae)) throw new Error('prototypes: the codes are not of one SAE')
  const data = new Float32Array(classes.length * dSae)
  rows.forEach((row, k) => {
    data.set(row, k * dSae)
  })
  return { classes, codes: tensor(data, [classes.length, dSae]) }
}

/** The edits that pull the queries at the SAE's site towards a class. */
export function sparseQueryEdits(
  sae: Sae,
  { classes, codes }: Prototypes,
  { target, strength, steps = 10, pull = 'likelihood', l1 = 0, error = 'keep' }: SparseQueryOptions,
): Edits {
  const at = classes.indexOf(target)
  if (at < 0) throw new Error(`there is no class '${target}'; there are ${classes.join(', ')}`)
  if (codes.sizes[1] !== sae.config.dSae)
    throw new Error(`the prototypes have ${codes.sizes[1]} features, the SAE has ${sae.config.dSae}`)
  if (!Number.isInteger(steps) || steps < 1) throw new RangeError(`${steps} steps: 1 or more are taken`)
  if (strength === 0) return {}
  const own: PullArguments = {
    prototypes: codes,
    target: tensor(Float32Array.from(classes, (_, k) => Number(k === at))),
    rate: strengthOf(strength),
    l1: strengthOf(l1),
  }
  return saeEdit(sae, pullFeatures(pull, steps), own, error)
}
