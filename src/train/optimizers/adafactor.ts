/**
 * Adafactor (Shazeer and Stern 2018): Adam whose second moments of a matrix are a row and a column.
 *
 *   β = 1 − t^decayRate,   R ← β R + (1 − β) mean over columns of (g² + ε₁),   C likewise over rows
 *   u = g / √(R C / mean R),   u ← u / max(1, rms(u) / clip),   p ← p − step (u + decay p)
 *
 * Vectors keep all their second moments. step is the learning rate; times max(ε₂, rms(p)) with `scaleParameter`, and
 * times min(0.01, 1 / √t) with `relativeStep` (min(1e-6 t, 1 / √t) with `warmupInit`): the paper's sizes are those at
 * a rate of 1. Both are off by default, as is usual where a schedule gives the rate. The rest is as in Hugging Face's
 * Adafactor, where arrays of more than two axes are factored in the last two.
 */
import * as z from 'zod'
import { leaves, mapTree, scalar, type Tensor, zeros } from '../../array/index.ts'
import { readOptions } from '../choice.ts'
import { type Choices, chooseDecays, decayOptions, type Optimizer } from '../optimizer.ts'
import { byShape, type Entries, stack, unstack } from '../stacked.ts'

export const adafactorSchema = z.strictObject({
  beta1: z
    .number()
    .positive()
    .lt(1)
    .optional()
    .describe('Decay of a mean of steps, with their rates; off by default'),
  decayRate: z.number().negative().default(-0.8).describe('Second moments are kept by 1 - step^decayRate'),
  clip: z.number().positive().default(1).describe('Largest root mean square of an update'),
  epsilon1: z.number().positive().default(1e-30).describe('Added to squares of gradients'),
  epsilon2: z.number().positive().default(1e-3).describe('Least size of parameters, with scaleParameter'),
  scaleParameter: z.boolean().default(false).describe('Steps in proportion to the size of a parameter'),
  relativeStep: z.boolean().default(false).describe('Steps that shrink with their number'),
  warmupInit: z.boolean().default(false).describe('With relativeStep, begin with small steps'),
  ...decayOptions,
})
export type AdafactorOptions = z.input<typeof adafactorSchema>

/** The moments of a large parameter, `alone.PATH`, or of all small ones of one shape, `stacked.64x256`. */
interface Moments {
  /** [count, ..., rows] and [count, ..., columns] of arrays with two axes or more. */
  readonly row?: Tensor
  readonly column?: Tensor
  /** [count, size] of vectors. */
  readonly full?: Tensor
  /** [count, ...shape], with `beta1`. */
  readonly mean?: Tensor
}
export interface AdafactorState {
  /** Steps taken, an f32 scalar. */
  readonly step: Tensor
  readonly moments: Readonly<Record<string, Moments>>
}

/** Parameters of this many elements are updated alone: what Adafactor saves is memory, and stacking copies. */
const largeSize = 2 ** 18

/** Small parameters of one shape together, because each update is some forty nodes. */
function groupsOf(tree: unknown): [name: string, group: Entries][] {
  const entries = leaves(tree)
  const isLarge = (leaf: Tensor): boolean => leaf.sizes.reduce((a, b) => a * b, 1) >= largeSize
  return [
    ...entries
      .filter(([, leaf]) => isLarge(leaf))
      .map(([path, leaf]): [string, Entries] => [`alone.${path}`, [[path, leaf]]]),
    ...[...byShape(entries.filter(([, leaf]) => !isLarge(leaf)))].map(([shape, group]): [string, Entries] => [
      `stacked.${shape}`,
      group,
    ]),
  ]
}

/** Root mean square of each entry of a stack: [count, 1, ...]. */
function rms(x: Tensor): Tensor {
  const axes = x.shape.map((_, axis) => axis).slice(1)
  return x.mul(x).mean(axes, { keep: true }).sqrt()
}

export function adafactor(options: AdafactorOptions = {}, choices: Choices = {}): Optimizer<AdafactorState> {
  const read = readOptions(adafactorSchema, options, 'adafactor')
  const { beta1, decayRate, clip, epsilon1, epsilon2, weightDecay } = read
  const { scaleParameter, relativeStep, warmupInit } = read
  if (warmupInit && !relativeStep) throw new Error('adafactor: warmupInit needs relativeStep')
  const decays = chooseDecays(read, choices)

  /** g / √v [count, ...shape], and the new moments. */
  function normalized(g: Tensor, before: Moments, fresh: Tensor): { update: Tensor; moments: Moments } {
    const square = g.mul(g).add(epsilon1)
    const keep = fresh.neg().add(1)
    const blend = (old: Tensor, value: Tensor): Tensor => old.mul(keep).add(value.mul(fresh))
    if (before.full) {
      const full = blend(before.full, square)
      return { update: g.div(full.sqrt()), moments: { full } }
    }
    const row = blend(before.row!, square.mean(-1))
    const column = blend(before.column!, square.mean(-2))
    // Roots before the quotient: R may be 1e-30 where its mean is not, and the quotient no normal f32.
    const ofRow = row.mean(-1, { keep: true }).sqrt().div(row.sqrt()).expandDims(-1)
    return { update: g.mul(ofRow).div(column.sqrt().expandDims(-2)), moments: { row, column } }
  }

  return {
    init(params) {
      const moments = groupsOf(params).map(([name, group]): [string, Moments] => {
        const shape = [group.length, ...group[0]![1].sizes]
        const factored = shape.length > 2
        return [
          name,
          {
            ...(factored
              ? { row: zeros(shape.slice(0, -1)), column: zeros(shape.toSpliced(-2, 1)) }
              : { full: zeros(shape) }),
            ...(beta1 !== undefined && { mean: zeros(shape) }),
          },
        ]
      })
      return { step: zeros([]), moments: Object.fromEntries(moments) }
    },
    update(params, grads, state, rate) {
      const step = state.step.add(1)
      const fresh = step.pow(decayRate)
      const relative = (): Tensor =>
        step
          .sqrt()
          .reciprocal()
          .minimum(warmupInit ? step.mul(1e-6) : scalar(1e-2))
      const size = relativeStep ? rate.mul(relative()) : rate
      const gradientOf = new Map(leaves(grads))
      const updated = new Map<string, Tensor>()
      const moments: Record<string, Moments> = {}
      for (const [name, group] of groupsOf(params)) {
        const before = state.moments[name]!
        const g = stack(group.map(([path]) => gradientOf.get(path)!))
        const result = normalized(g, before, fresh)
        const scaled = scaleParameter
          ? rms(stack(group.map(([, leaf]) => leaf)))
              .maximum(epsilon2)
              .mul(size)
          : size
        const clipped = result.update
          .div(
            rms(result.update)
              .mul(1 / clip)
              .maximum(1),
          )
          .mul(scaled)
        const mean = beta1 === undefined ? undefined : before.mean!.mul(beta1).add(clipped.mul(1 - beta1))
        moments[name] = { ...result.moments, ...(mean && { mean }) }
        const shrink = scaled.mul(-weightDecay).add(1)
        group.forEach(([path, leaf], i) => {
          const factor = scaleParameter ? shrink.slice(0, i, i + 1).reshape(ones(leaf)) : shrink
          const kept = weightDecay > 0 && decays(path, leaf) ? leaf.mul(factor) : leaf
          updated.set(path, kept.sub(unstack(mean ?? clipped, i, leaf)))
        })
      }
      return {
        params: mapTree(params, (_, path) => updated.get(path)!) as typeof params,
        state: { step, moments },
      }
    },
  }
}

/** A shape that broadcasts over a parameter. */
const ones = (leaf: Tensor): number[] => leaf.shape.map(() => 1)
