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
import * as z from 'zod'
import { leaves, mapTree, type Tensor, zeros } from '../../array/index.ts'
import { readOptions } from '../choice.ts'
import { type Choices, type Choose, chooseDecays, decayOptions, type Optimizer } from '../optimizer.ts'
import { byShape, type Entries, stack, unstack } from '../stacked.ts'
import { type AdamWState, adamw, adamwSchema } from './adamw.ts'

export const muonSchema = z.strictObject({
  momentum: z.number().nonnegative().lt(1).default(0.95).describe('Share of past gradients that is kept'),
  nesterov: z.boolean().default(true).describe('Look ahead by one step of momentum'),
  iterations: z.int().positive().max(100).default(5).describe('Steps of the Newton-Schulz iteration'),
  scale: z
    .enum(['adamw', 'jordan'])
    .default('adamw')
    .describe(
      "'adamw': 0.2 √max(rows, columns), for AdamW's rates; 'jordan': √max(1, outputs / inputs), for about 0.02",
    ),
  layout: z
    .enum(['out-in', 'in-out'])
    .default('out-in')
    .describe("How matrices lie, for 'jordan': out-in as in Llama, in-out as in GPT-2"),
  others: adamwSchema
    .pick({ beta1: true, beta2: true, epsilon: true })
    .prefault({})
    .describe('AdamW of embedding, head, norms and biases'),
  othersRate: z.number().nonnegative().default(1).describe("Their learning rate in units of the matrices'"),
  ...decayOptions,
})
export type MuonOptions = z.input<typeof muonSchema>

export interface MuonChoices extends Choices {
  /** The parameters that are made orthogonal, all of them matrices. By default those of the blocks. */
  readonly hidden?: Choose
}

export interface MuonState {
  /** M of all hidden matrices of one shape: `{ '64x256': f32 [count, 64, 256] }`. */
  readonly momentum: Readonly<Record<string, Tensor>>
  readonly others: AdamWState
}

/** Matrices of the blocks: neither embedding, learned positions and head nor norms and biases. */
const inBlocks: Choose = (path, leaf) => leaf.rank === 2 && /(^|\.)blocks\./.test(path)

/** Keller Jordan's coefficients of the quintic: steep at 0, and about 1 between 0.7 and 1.2. */
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

export function muon(options: MuonOptions = {}, choices: MuonChoices = {}): Optimizer<MuonState> {
  const read = readOptions(muonSchema, options, 'muon')
  const { momentum, nesterov, iterations, weightDecay, othersRate } = read
  const decays = chooseDecays(read, choices)
  const hidden = choices.hidden ?? inBlocks
  const rest = adamw({ ...read.others, weightDecay }, { decays })

  const divide = (tree: unknown): { matrices: Entries; others: Record<string, Tensor> } => {
    const entries = leaves(tree)
    const matrices = entries.filter(([path, leaf]) => hidden(path, leaf))
    for (const [path, leaf] of matrices)
      if (leaf.rank !== 2) throw new Error(`muon: '${path}' is ${leaf}; only matrices can be made orthogonal`)
    return { matrices, others: Object.fromEntries(entries.filter(([path, leaf]) => !hidden(path, leaf))) }
  }
  const scaleOf = ({ shape }: Tensor): number => {
    const [rows, columns] = shape as [number, number]
    if (read.scale === 'adamw') return 0.2 * Math.sqrt(Math.max(rows, columns))
    return Math.sqrt(Math.max(1, read.layout === 'out-in' ? rows / columns : columns / rows))
  }

  return {
    init(params) {
      const { matrices, others } = divide(params)
      const sums = [...byShape(matrices)].map(
        ([name, group]) => [name, zeros([group.length, ...group[0]![1].sizes])] as const,
      )
      return { momentum: Object.fromEntries(sums), others: rest.init(others) }
    },
    update(params, grads, state, rate) {
      const [own, gradients] = [divide(params), divide(grads)]
      const othersStep = othersRate === 1 ? rate : rate.mul(othersRate)
      const others = rest.update(own.others, gradients.others, state.others, othersStep)
      const updated = new Map(Object.entries(others.params))
      const gradientOf = new Map(gradients.matrices)
      const sums: Record<string, Tensor> = {}
      const keep = rate.mul(-weightDecay).add(1)
      for (const [name, group] of byShape(own.matrices)) {
        const g = stack(group.map(([path]) => gradientOf.get(path)!))
        const sum = state.momentum[name]!.mul(momentum).add(g)
        const direction = nesterov ? sum.mul(momentum).add(g) : sum
        const step = orthogonal(direction, iterations).mul(rate.mul(scaleOf(group[0]![1])))
        group.forEach(([path, leaf], i) => {
          const kept = weightDecay > 0 && decays(path, leaf) ? leaf.mul(keep) : leaf
          updated.set(path, kept.sub(unstack(step, i, leaf)))
        })
        sums[name] = sum
      }
      const next = mapTree(params, (_, path) => updated.get(path)!) as typeof params
      return { params: next, state: { momentum: sums, others: others.state } }
    },
  }
}
