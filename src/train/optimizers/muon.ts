/**
 * Muon (Jordan et al. 2024): momentum whose matrix is made orthogonal, on the hidden matrices; AdamW on the rest.
 *
 *   M ← μ M + G,   U = orthogonal(G + μ M) (Nesterov) or orthogonal(M)
 *   P ← P − rate (scale U + decay P)
 *
 * orthogonal(X) sets every singular value of X to about 1 (0.7 to 1.2): five steps of a Newton-Schulz iteration,
 * X ← a X + (b XXᵀ + c (XXᵀ)²) X from X / ‖X‖. By default scale = 0.2 √max(rows, columns), which gives U the root
 * mean square of AdamW's updates, so that both parts share one learning rate and decay ("Muon is Scalable for LLM
 * Training", Liu et al. 2025).
 *
 * Differs from the authors' code: f32 instead of bf16. A joined projection (`attn.qkv`) is one matrix here.
 */
import { concat, leaves, mapTree, type Tensor, zeros } from '../../array/index.ts'
import { type Decays, decays as matrices, type Optimizer } from '../optimizer.ts'
import { type AdamWOptions, type AdamWState, adamw } from './adamw.ts'

export interface MuonOptions {
  /** μ. */
  readonly momentum?: number
  readonly nesterov?: boolean
  /** Steps of the Newton-Schulz iteration. */
  readonly iterations?: number
  /**
   * 'adamw': 0.2 √max(rows, columns), for AdamW's learning rates (about 1e-3). 'jordan': √max(1, outputs / inputs),
   * for rates of about 0.02; then `othersRate` must bring the rate of the rest down.
   */
  readonly scale?: 'adamw' | 'jordan'
  /** How matrices lie, for 'jordan': [outputs, inputs] as in Hugging Face's Llama, or as in GPT-2. */
  readonly layout?: 'out-in' | 'in-out'
  /** Per step and unit of learning rate, on the parameters that `decays` chooses, of both parts. */
  readonly weightDecay?: number
  readonly decays?: Decays
  /** The parameters that are made orthogonal, all of them matrices. By default those of the blocks. */
  readonly hidden?: (path: string, leaf: Tensor) => boolean
  /** AdamW of the others, and its learning rate in units of Muon's. */
  readonly others?: Pick<AdamWOptions, 'beta1' | 'beta2' | 'epsilon'>
  readonly othersRate?: number
}

export interface MuonState {
  /** M of all hidden matrices of one shape: `{ '64x256': f32 [count, 64, 256] }`. */
  readonly momentum: Readonly<Record<string, Tensor>>
  readonly others: AdamWState
}

/** Matrices of the blocks: neither embedding, learned positions and head nor norms and biases. */
const inBlocks = (path: string, leaf: Tensor): boolean => leaf.rank === 2 && /(^|\.)blocks\./.test(path)

/** Keller Jordan's coefficients of the quintic: steep at 0 and close to 1 in [0.7, 1.2]. */
const [a, b, c] = [3.4445, -4.775, 2.0315]
/** Keeps a zero matrix at zero. */
const epsilon = 1e-7

/** x [count, rows, columns], each matrix with its singular values brought to about 1. */
export function orthogonal(x: Tensor, iterations = 5): Tensor {
  const [, rows, columns] = x.shape as [number, number, number]
  // The smaller of XXᵀ and XᵀX; from the other side it is the same iteration on the transpose.
  const tall = rows > columns
  let y = x.div(x.mul(x).sum([1, 2], { keep: true }).sqrt().add(epsilon))
  for (let i = 0; i < iterations; i++) {
    const square = y.matmul(y, tall ? { transposeA: true } : { transposeB: true })
    const factor = square.mul(b).add(square.matmul(square, { alpha: c }))
    y = y.mul(a).add(tall ? y.matmul(factor) : factor.matmul(y))
  }
  return y
}

type Entries = readonly (readonly [path: string, leaf: Tensor])[]

/** Leaves of equal shape, each group under the name of its shape. */
function byShape(entries: Entries): Map<string, [path: string, leaf: Tensor][]> {
  const groups = new Map<string, [string, Tensor][]>()
  for (const [path, leaf] of entries) {
    if (leaf.rank !== 2) throw new Error(`muon: '${path}' is ${leaf}; only matrices can be made orthogonal`)
    const name = leaf.sizes.join('x')
    groups.set(name, [...(groups.get(name) ?? []), [path, leaf]])
  }
  return groups
}

/** [rows, columns], several times -> [count, rows, columns] */
const stack = (parts: readonly Tensor[]): Tensor => {
  const [first, ...rest] = parts.map((part) => part.expandDims(0))
  return concat([first!, ...rest], 0)
}

export function muon(options: MuonOptions = {}): Optimizer<MuonState> {
  const { momentum = 0.95, nesterov = true, iterations = 5, scale = 'adamw', layout = 'out-in' } = options
  const { weightDecay = 0, decays = matrices, hidden = inBlocks, othersRate = 1 } = options
  const rest = adamw({ ...options.others, weightDecay, decays })

  const divide = (tree: unknown): { hidden: Entries; others: Record<string, Tensor> } => {
    const entries = leaves(tree)
    return {
      hidden: entries.filter(([path, leaf]) => hidden(path, leaf)),
      others: Object.fromEntries(entries.filter(([path, leaf]) => !hidden(path, leaf))),
    }
  }
  const scaleOf = ([rows, columns]: readonly number[]): number => {
    if (scale === 'adamw') return 0.2 * Math.sqrt(Math.max(rows!, columns!))
    return Math.sqrt(Math.max(1, layout === 'out-in' ? rows! / columns! : columns! / rows!))
  }

  return {
    init(params) {
      const parts = divide(params)
      const groups = [...byShape(parts.hidden)].map(
        ([name, group]) => [name, zeros([group.length, ...group[0]![1].sizes])] as const,
      )
      return { momentum: Object.fromEntries(groups), others: rest.init(parts.others) }
    },
    update(params, grads, state, rate) {
      const [parts, gradients] = [divide(params), divide(grads)]
      const others = rest.update(
        parts.others,
        gradients.others,
        state.others,
        othersRate === 1 ? rate : rate.mul(othersRate),
      )
      const updated = new Map(Object.entries(others.params))
      const gradientOf = new Map(gradients.hidden)
      const sums: Record<string, Tensor> = {}
      const keep = rate.mul(-weightDecay).add(1)
      for (const [name, group] of byShape(parts.hidden)) {
        const g = stack(group.map(([path]) => gradientOf.get(path)!))
        const sum = state.momentum[name]!.mul(momentum).add(g)
        sums[name] = sum
        const direction = nesterov ? sum.mul(momentum).add(g) : sum
        const step = orthogonal(direction, iterations).mul(rate.mul(scaleOf(group[0]![1].sizes)))
        group.forEach(([path, leaf], i) => {
          const kept = weightDecay !== 0 && decays(path, leaf) ? leaf.mul(keep) : leaf
          updated.set(path, kept.sub(step.slice(0, i, i + 1).reshape(leaf.shape)))
        })
      }
      const next = mapTree(params, (_, path) => updated.get(path)!) as typeof params
      return { params: next, state: { momentum: sums, others: others.state } }
    },
  }
}
