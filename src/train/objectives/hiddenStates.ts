/**
 * Matching hidden states: the student's residual stream after some blocks, projected to the teacher's width, is to be
 * the teacher's (Romero et al. 2014, "FitNets"; for Transformers Jiao et al. 2020, https://arxiv.org/abs/1909.10351).
 *
 *   mse:     mean over the width of (W h + b − h_teacher)²
 *   cosine:  1 − cos(W h + b, h_teacher)
 *
 * Averaged over the pairs of layers. Without projections the widths must be equal.
 */
import * as z from 'zod'
import type { Tensor } from '../../array/index.ts'
import { linear } from '../../model/parts/linear.ts'
import type { DecoderSpec, Linear } from '../../model/spec.ts'
import { newHead } from '../head.ts'

const layer = z.int().nonnegative()

export const hiddenSchema = z.strictObject({
  layers: z
    .array(z.tuple([layer, layer]))
    .nonempty()
    .describe("Pairs of the student's layer and the teacher's, counted from 0"),
  distance: z.enum(['mse', 'cosine']).default('mse'),
  weight: z.number().positive().default(1).describe('Of this part of the loss'),
})
export type HiddenOptions = z.output<typeof hiddenSchema>

/** Throws for layers that a model does not have. */
export function checkPairs({ layers }: HiddenOptions, student: DecoderSpec, teacher: DecoderSpec): void {
  for (const [own, theirs] of layers) {
    if (own >= student.layers)
      throw new RangeError(`distillation: the student has layers 0 to ${student.layers - 1}, not ${own}`)
    if (theirs >= teacher.layers)
      throw new RangeError(`distillation: the teacher has layers 0 to ${teacher.layers - 1}, not ${theirs}`)
  }
}

/** New projections, one for each pair of layers. */
export const newProjections = (
  { layers }: HiddenOptions,
  student: DecoderSpec,
  teacher: DecoderSpec,
  seed: number,
): Linear[] =>
  layers.map((_, i) => newHead(teacher.width, student.width, seed + i, 1 / Math.sqrt(student.width)))

/** The distance of each position, [batch, T]. pairs: states [batch, T, width] of student and teacher. */
export function hiddenLoss(
  { distance }: HiddenOptions,
  pairs: readonly (readonly [own: Tensor, theirs: Tensor])[],
  projections: readonly Linear[] | undefined,
): Tensor {
  const losses = pairs.map(([own, theirs], i) => {
    const projection = projections?.[i]
    if (!projection && own.shape.at(-1) !== theirs.shape.at(-1))
      throw new Error(
        `distillation: states of ${own.shape.at(-1)} and ${theirs.shape.at(-1)} numbers need a projection (newProjections)`,
      )
    const mapped = projection ? linear(own, projection, 'out-in') : own
    return distance === 'mse' ? mapped.sub(theirs).pow(2).mean(-1) : cosine(mapped, theirs).neg().add(1)
  })
  return losses.reduce((sum, one) => sum.add(one)).mul(1 / losses.length)
}

/** Cosine of the angle between vectors along the last axis. */
function cosine(a: Tensor, b: Tensor): Tensor {
  const length = (x: Tensor): Tensor => x.mul(x).sum(-1).add(1e-24).sqrt()
  return a
    .mul(b)
    .sum(-1)
    .div(length(a).mul(length(b)))
}
